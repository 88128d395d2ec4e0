-- Takes a journal back to what version 1 wrote.
DROP TABLE block;
DROP TABLE retry;
DROP TABLE limit_override;
ALTER TABLE command DROP COLUMN fingerprint;
DROP TABLE callback;
DROP TABLE event;
DROP TABLE proof;
DROP TABLE presence;
DROP TABLE cool_down;
ALTER TABLE progress DROP COLUMN event;
ALTER TABLE message DROP COLUMN shown;
ALTER TABLE outcome DROP COLUMN receipt_at;
ALTER TABLE outcome DROP COLUMN receipt_error;
ALTER TABLE outcome DROP COLUMN receipt_text;
ALTER TABLE history DROP COLUMN receipt_at;
ALTER TABLE history DROP COLUMN receipt_error;
ALTER TABLE history DROP COLUMN receipt_text;
PRAGMA user_version = 1;
