-- Times are Unix milliseconds. Lengths of time are milliseconds.

-- One row for each call of a model. Never what was asked or answered.
CREATE TABLE featherwire_calls (
    ended_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    key_id BLOB NOT NULL,
    -- The name of the key at the time of the call.
    key_name TEXT NOT NULL,
    -- grpc, grpc-web or rest
    door TEXT NOT NULL,
    rpc TEXT NOT NULL,
    -- As the caller wrote it. Empty if the request was refused before it was read.
    model_asked TEXT NOT NULL,
    -- The model that answered, or else the one that was asked for, if the catalogue has it.
    model TEXT NOT NULL,
    -- finished, failed or cancelled
    ending TEXT NOT NULL,
    error_code TEXT,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    -- Who counted the tokens: upstream, counted (the gateway) or none.
    token_source TEXT NOT NULL,
    units INTEGER NOT NULL,
    -- The units, multiplied by the time for which they were held.
    unit_ms INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    first_token_ms INTEGER,
    duration_ms INTEGER NOT NULL,
    -- How many requests were sent upstream.
    attempts INTEGER NOT NULL,
    request_id TEXT,
    upstream_request_id TEXT,
    PRIMARY KEY (ended_at, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX featherwire_calls_of_key ON featherwire_calls (key_id, ended_at, id);

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
