-- What keys have spent of their budgets, in the last window of each budget.
CREATE TABLE featherwire_spending (
    key_id BLOB NOT NULL REFERENCES featherwire_keys (id),
    -- tokens, requests or unit-seconds. Unit-seconds are counted in milliseconds.
    unit TEXT NOT NULL,
    -- day, week, month or total
    period TEXT NOT NULL,
    -- The number of the day, week or month since 1970.
    window_number INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    PRIMARY KEY (key_id, unit, period)
) STRICT;
