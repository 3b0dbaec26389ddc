-- Times are Unix milliseconds. Lengths of time are milliseconds.

-- The records of calls of a model, in blocks. Never what was asked or answered.
CREATE TABLE featherwire_call_blocks (
    -- The Unix second in which all calls of the block ended.
    second INTEGER NOT NULL,
    -- The id of its first call.
    id BLOB NOT NULL,
    -- How many calls it has.
    calls INTEGER NOT NULL,
    -- Their records, in the form that src/ledger/codec.rs describes.
    content BLOB NOT NULL,
    PRIMARY KEY (second, id)
) STRICT;

-- The keys of the calls of each block.
CREATE TABLE featherwire_call_keys (
    second INTEGER NOT NULL,
    block BLOB NOT NULL,
    key_id BLOB NOT NULL,
    PRIMARY KEY (second, block, key_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX featherwire_call_keys_by_key ON featherwire_call_keys (key_id, second, block);

-- Sums of calls by the hour and by the day (UTC) in which they ended.
--
-- The columns duration_N and first_token_N are histograms. Each counts calls in two classes: in its
-- lower 32 bits those of class 2 N, in the others those of class 2 N + 1. Class C has the calls that
-- took at most 2^(C / 2) milliseconds, and longer than those of the class before; the last class
-- has all longer ones. Only calls that finished are counted.
CREATE TABLE featherwire_usage (
    -- How many hours a row is for: 1 or 24.
    grain INTEGER NOT NULL,
    -- When they begin.
    start INTEGER NOT NULL,
    key_id BLOB NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    -- How many calls have tokens that the gateway has counted.
    counted INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    unit_ms INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    duration_0 INTEGER NOT NULL DEFAULT 0,
    duration_1 INTEGER NOT NULL DEFAULT 0,
    duration_2 INTEGER NOT NULL DEFAULT 0,
    duration_3 INTEGER NOT NULL DEFAULT 0,
    duration_4 INTEGER NOT NULL DEFAULT 0,
    duration_5 INTEGER NOT NULL DEFAULT 0,
    duration_6 INTEGER NOT NULL DEFAULT 0,
    duration_7 INTEGER NOT NULL DEFAULT 0,
    duration_8 INTEGER NOT NULL DEFAULT 0,
    duration_9 INTEGER NOT NULL DEFAULT 0,
    duration_10 INTEGER NOT NULL DEFAULT 0,
    duration_11 INTEGER NOT NULL DEFAULT 0,
    duration_12 INTEGER NOT NULL DEFAULT 0,
    duration_13 INTEGER NOT NULL DEFAULT 0,
    duration_14 INTEGER NOT NULL DEFAULT 0,
    duration_15 INTEGER NOT NULL DEFAULT 0,
    duration_16 INTEGER NOT NULL DEFAULT 0,
    duration_17 INTEGER NOT NULL DEFAULT 0,
    duration_18 INTEGER NOT NULL DEFAULT 0,
    duration_19 INTEGER NOT NULL DEFAULT 0,
    duration_20 INTEGER NOT NULL DEFAULT 0,
    duration_21 INTEGER NOT NULL DEFAULT 0,
    first_token_0 INTEGER NOT NULL DEFAULT 0,
    first_token_1 INTEGER NOT NULL DEFAULT 0,
    first_token_2 INTEGER NOT NULL DEFAULT 0,
    first_token_3 INTEGER NOT NULL DEFAULT 0,
    first_token_4 INTEGER NOT NULL DEFAULT 0,
    first_token_5 INTEGER NOT NULL DEFAULT 0,
    first_token_6 INTEGER NOT NULL DEFAULT 0,
    first_token_7 INTEGER NOT NULL DEFAULT 0,
    first_token_8 INTEGER NOT NULL DEFAULT 0,
    first_token_9 INTEGER NOT NULL DEFAULT 0,
    first_token_10 INTEGER NOT NULL DEFAULT 0,
    first_token_11 INTEGER NOT NULL DEFAULT 0,
    first_token_12 INTEGER NOT NULL DEFAULT 0,
    first_token_13 INTEGER NOT NULL DEFAULT 0,
    first_token_14 INTEGER NOT NULL DEFAULT 0,
    first_token_15 INTEGER NOT NULL DEFAULT 0,
    first_token_16 INTEGER NOT NULL DEFAULT 0,
    first_token_17 INTEGER NOT NULL DEFAULT 0,
    first_token_18 INTEGER NOT NULL DEFAULT 0,
    first_token_19 INTEGER NOT NULL DEFAULT 0,
    first_token_20 INTEGER NOT NULL DEFAULT 0,
    first_token_21 INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (grain, start, key_id, model)
) STRICT, WITHOUT ROWID;
