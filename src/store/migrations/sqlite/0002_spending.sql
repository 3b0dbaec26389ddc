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

-- The gateways that have leases or had some in the last day.
CREATE TABLE featherwire_gateways (
    -- Made at each start of a gateway.
    id BLOB PRIMARY KEY NOT NULL,
    -- The number of the last batch of spending that it has saved.
    batch INTEGER NOT NULL,
    -- When it wrote last, by the clock of the database.
    seen_at INTEGER NOT NULL,
    -- When others have ended its leases. A gateway that comes back has none then.
    ended_at INTEGER
) STRICT;

-- What gateways may still give out of a budget without asking. What is spent and what is leased are
-- together never more than the budget.
CREATE TABLE featherwire_leases (
    key_id BLOB NOT NULL REFERENCES featherwire_keys (id),
    unit TEXT NOT NULL,
    period TEXT NOT NULL,
    gateway_id BLOB NOT NULL REFERENCES featherwire_gateways (id),
    window_number INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (key_id, unit, period, gateway_id)
) STRICT;

CREATE INDEX featherwire_leases_of_gateway ON featherwire_leases (gateway_id);
