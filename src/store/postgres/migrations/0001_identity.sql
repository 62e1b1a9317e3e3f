CREATE TABLE "events" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "events_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"time" timestamp (3) with time zone NOT NULL,
	"kind" text NOT NULL,
	"severity" text NOT NULL,
	"subject" text NOT NULL,
	"message" text NOT NULL,
	"detail" jsonb,
	"once" text,
	CONSTRAINT "events_once_unique" UNIQUE("once")
);
--> statement-breakpoint
CREATE TABLE "revocations" (
	"id" text PRIMARY KEY NOT NULL,
	"kind" text NOT NULL,
	"value" text NOT NULL,
	"before" timestamp (3) with time zone NOT NULL,
	"until" timestamp (3) with time zone NOT NULL,
	"reason" text,
	"actor" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "users" (
	"id" text PRIMARY KEY NOT NULL,
	"provider" text,
	"claimed_email" text,
	"claimed_name" text,
	"claimed_groups" text[] DEFAULT '{}' NOT NULL,
	"claimed_tenant" text,
	"email" text,
	"name" text,
	"groups" text[] DEFAULT '{}' NOT NULL,
	"roles" text[] DEFAULT '{}' NOT NULL,
	"team" text,
	"tenant" text,
	"disabled" boolean DEFAULT false NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"last_seen_at" timestamp (3) with time zone
);
--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "description" text;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "labels" jsonb;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "tenant" text;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "surfaces" text[];--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "tools" text[];--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "scopes" text[];--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "permissions" text[];--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "inactivity_days" integer;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "last_used_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "rotated_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "previous_hash" text;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "previous_expires_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "revoked_reason" text;--> statement-breakpoint
ALTER TABLE "virtual_keys" ADD COLUMN "deleted_at" timestamp (3) with time zone;--> statement-breakpoint
CREATE INDEX "events_time" ON "events" USING btree ("time");--> statement-breakpoint
CREATE INDEX "events_kind" ON "events" USING btree ("kind","id");--> statement-breakpoint
CREATE INDEX "events_subject" ON "events" USING btree ("subject","id");--> statement-breakpoint
CREATE INDEX "revocations_newest" ON "revocations" USING btree ("created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "revocations_until" ON "revocations" USING btree ("until");--> statement-breakpoint
CREATE INDEX "virtual_keys_owner" ON "virtual_keys" USING btree ("user");--> statement-breakpoint
CREATE INDEX "virtual_keys_expiring" ON "virtual_keys" USING btree ("expires_at");