-- Times are Unix milliseconds.

-- Who may call. A deleted key stays, without its secrets, because records of its calls name it.
CREATE TABLE featherwire_keys (
    id UUID PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    -- A JSON object of texts.
    labels TEXT NOT NULL,
    -- inference, admin or viewer
    role TEXT NOT NULL,
    -- A JSON object, as src/keys/limits.rs describes it.
    limits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    disabled_at BIGINT,
    revoked_at BIGINT,
    -- When the running calls of a revoked key were ended.
    calls_cut_at BIGINT,
    deleted_at BIGINT,
    last_used_at BIGINT,
    -- The version of the keys at the last change of this one.
    version BIGINT NOT NULL
);

CREATE INDEX featherwire_keys_by_version ON featherwire_keys (version);

-- What a caller shows. Several secrets of one key are valid during a rotation.
CREATE TABLE featherwire_secrets (
    -- The readable part of the secret, with which people recognise it.
    public_id TEXT PRIMARY KEY NOT NULL,
    key_id UUID NOT NULL REFERENCES featherwire_keys (id),
    -- SHA-256 of the whole secret.
    digest BYTEA NOT NULL UNIQUE,
    last_four TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When a rotation or a revocation ends it.
    ends_at BIGINT
);

CREATE INDEX featherwire_secrets_of_key ON featherwire_secrets (key_id);

-- What was changed by whom.
CREATE TABLE featherwire_audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    key_id UUID,
    -- A JSON object.
    detail TEXT NOT NULL
);

-- Each change of what gateways keep in memory raises a number, by which they notice it.
CREATE TABLE featherwire_versions (
    name TEXT PRIMARY KEY NOT NULL,
    version BIGINT NOT NULL
);

INSERT INTO featherwire_versions (name, version) VALUES ('keys', 1);
