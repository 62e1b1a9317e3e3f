CREATE TABLE "issuer_keys" (
	"provider" text PRIMARY KEY NOT NULL,
	"declared" text NOT NULL,
	"keys" jsonb NOT NULL,
	"fetched_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN "claimed_at" timestamp (3) with time zone;