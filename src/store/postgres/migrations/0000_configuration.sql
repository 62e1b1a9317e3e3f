CREATE TABLE "changes" (
	"revision" bigint NOT NULL,
	"position" integer NOT NULL,
	"time" timestamp (3) with time zone NOT NULL,
	"actor" text NOT NULL,
	"action" text NOT NULL,
	"entity" text NOT NULL,
	"entity_id" text NOT NULL,
	CONSTRAINT "changes_revision_position_pk" PRIMARY KEY("revision","position")
);
--> statement-breakpoint
CREATE TABLE "resources" (
	"kind" text NOT NULL,
	"name" text NOT NULL,
	"labels" jsonb,
	"spec" jsonb NOT NULL,
	"generation" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	"deleted_at" timestamp (3) with time zone,
	CONSTRAINT "resources_kind_name_pk" PRIMARY KEY("kind","name")
);
--> statement-breakpoint
CREATE TABLE "revision" (
	"id" integer PRIMARY KEY NOT NULL,
	"value" bigint NOT NULL,
	CONSTRAINT "revision_is_one_row" CHECK ("revision"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "virtual_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"hash" text NOT NULL,
	"prefix" text NOT NULL,
	"hint" text NOT NULL,
	"name" text,
	"user" text NOT NULL,
	"team" text,
	"models" text[],
	"created_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone,
	"revoked_at" timestamp (3) with time zone,
	CONSTRAINT "virtual_keys_hash_unique" UNIQUE("hash")
);
--> statement-breakpoint
CREATE INDEX "virtual_keys_newest" ON "virtual_keys" USING btree ("created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);