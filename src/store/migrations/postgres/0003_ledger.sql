-- Times are Unix milliseconds. Lengths of time are milliseconds.

-- The records of calls of a model, in blocks. Never what was asked or answered.
CREATE TABLE featherwire_call_blocks (
    -- The Unix second in which all calls of the block ended.
    second BIGINT NOT NULL,
    -- The id of its first call.
    id UUID NOT NULL,
    -- How many calls it has.
    calls BIGINT NOT NULL,
    -- Their records, in the form that src/ledger/codec.rs describes.
    content BYTEA NOT NULL,
    PRIMARY KEY (second, id)
) PARTITION BY RANGE (second);

-- The keys of the calls of each block.
CREATE TABLE featherwire_call_keys (
    second BIGINT NOT NULL,
    block UUID NOT NULL,
    key_id UUID NOT NULL,
    PRIMARY KEY (second, block, key_id)
) PARTITION BY RANGE (second);

CREATE INDEX featherwire_call_keys_by_key ON featherwire_call_keys (key_id, second, block);

-- For rows of a day that has no partition of its own.
CREATE TABLE featherwire_call_blocks_default PARTITION OF featherwire_call_blocks DEFAULT;
CREATE TABLE featherwire_call_keys_default PARTITION OF featherwire_call_keys DEFAULT;

-- Sums of calls by the hour and by the day (UTC) in which they ended.
--
-- The columns duration_N and first_token_N are histograms. Each counts calls in two classes: in its
-- lower 32 bits those of class 2 N, in the others those of class 2 N + 1. Class C has the calls that
-- took at most 2^(C / 2) milliseconds, and longer than those of the class before; the last class
-- has all longer ones. Only calls that finished are counted.
CREATE TABLE featherwire_usage (
    -- How many hours a row is for: 1 or 24.
    grain BIGINT NOT NULL,
    -- When they begin.
    start BIGINT NOT NULL,
    key_id UUID NOT NULL,
    model TEXT NOT NULL,
    calls BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    -- How many calls have tokens that the gateway has counted.
    counted BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    unit_ms BIGINT NOT NULL,
    waited_ms BIGINT NOT NULL,
    duration_0 BIGINT NOT NULL DEFAULT 0,
    duration_1 BIGINT NOT NULL DEFAULT 0,
    duration_2 BIGINT NOT NULL DEFAULT 0,
    duration_3 BIGINT NOT NULL DEFAULT 0,
    duration_4 BIGINT NOT NULL DEFAULT 0,
    duration_5 BIGINT NOT NULL DEFAULT 0,
    duration_6 BIGINT NOT NULL DEFAULT 0,
    duration_7 BIGINT NOT NULL DEFAULT 0,
    duration_8 BIGINT NOT NULL DEFAULT 0,
    duration_9 BIGINT NOT NULL DEFAULT 0,
    duration_10 BIGINT NOT NULL DEFAULT 0,
    duration_11 BIGINT NOT NULL DEFAULT 0,
    duration_12 BIGINT NOT NULL DEFAULT 0,
    duration_13 BIGINT NOT NULL DEFAULT 0,
    duration_14 BIGINT NOT NULL DEFAULT 0,
    duration_15 BIGINT NOT NULL DEFAULT 0,
    duration_16 BIGINT NOT NULL DEFAULT 0,
    duration_17 BIGINT NOT NULL DEFAULT 0,
    duration_18 BIGINT NOT NULL DEFAULT 0,
    duration_19 BIGINT NOT NULL DEFAULT 0,
    duration_20 BIGINT NOT NULL DEFAULT 0,
    duration_21 BIGINT NOT NULL DEFAULT 0,
    first_token_0 BIGINT NOT NULL DEFAULT 0,
    first_token_1 BIGINT NOT NULL DEFAULT 0,
    first_token_2 BIGINT NOT NULL DEFAULT 0,
    first_token_3 BIGINT NOT NULL DEFAULT 0,
    first_token_4 BIGINT NOT NULL DEFAULT 0,
    first_token_5 BIGINT NOT NULL DEFAULT 0,
    first_token_6 BIGINT NOT NULL DEFAULT 0,
    first_token_7 BIGINT NOT NULL DEFAULT 0,
    first_token_8 BIGINT NOT NULL DEFAULT 0,
    first_token_9 BIGINT NOT NULL DEFAULT 0,
    first_token_10 BIGINT NOT NULL DEFAULT 0,
    first_token_11 BIGINT NOT NULL DEFAULT 0,
    first_token_12 BIGINT NOT NULL DEFAULT 0,
    first_token_13 BIGINT NOT NULL DEFAULT 0,
    first_token_14 BIGINT NOT NULL DEFAULT 0,
    first_token_15 BIGINT NOT NULL DEFAULT 0,
    first_token_16 BIGINT NOT NULL DEFAULT 0,
    first_token_17 BIGINT NOT NULL DEFAULT 0,
    first_token_18 BIGINT NOT NULL DEFAULT 0,
    first_token_19 BIGINT NOT NULL DEFAULT 0,
    first_token_20 BIGINT NOT NULL DEFAULT 0,
    first_token_21 BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (grain, start, key_id, model)
);
