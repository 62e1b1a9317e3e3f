CREATE TABLE "known_teams" (
	"name" text PRIMARY KEY NOT NULL,
	"team" jsonb NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL
);
