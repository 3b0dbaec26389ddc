//! The options for the upstream.

use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{
    address::base_url,
    heading,
    values::{duration, is_header_token},
};

/// The address, the key and the timeouts of Featherless's API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::UPSTREAM)]
pub struct Upstream {
    /// The account's API key, from featherless.ai. Prefer the variable (or `.env`): flags are
    /// visible in process lists
    #[arg(
        long,
        env = "FEATHERLESS_API_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    pub featherless_api_key: Option<SecretString>,

    /// The base URL of the API
    #[arg(
        long,
        env = "FEATHERLESS_BASE_URL",
        value_name = "URL",
        default_value = "https://api.featherless.ai/v1",
        value_parser = base_url
    )]
    pub featherless_base_url: reqwest::Url,

    /// The name of your application, sent upstream as `X-Title`
    #[arg(
        long,
        env = "FEATHERWIRE_APP_TITLE",
        value_name = "NAME",
        default_value = "Featherwire"
    )]
    pub app_title: String,

    /// The address of your application, sent upstream as `HTTP-Referer`
    #[arg(long, env = "FEATHERWIRE_APP_URL", value_name = "URL")]
    pub app_url: Option<String>,

    /// Longest wait for a connection to the upstream
    #[arg(
        long,
        env = "FEATHERWIRE_CONNECT_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub connect_timeout: Duration,

    /// Longest wait for the first token of an answer after the request is sent. For a unary answer,
    /// longest wait for its headers
    #[arg(
        long,
        env = "FEATHERWIRE_FIRST_TOKEN_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub first_token_timeout: Duration,

    /// The largest number of retries when no model has worked on the request, for example because
    /// Featherless cannot be reached or has no capacity. Retries happen only before any part of the
    /// answer has arrived, and are at most a fifth of all requests. 0 for never
    #[arg(
        long,
        env = "FEATHERWIRE_RETRIES",
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(..=10)
    )]
    pub retries: u32,

    /// The approximate time before a retry. It doubles with each retry, unless Featherless sends a
    /// Retry-After
    #[arg(
        long,
        env = "FEATHERWIRE_RETRY_WAIT",
        value_name = "TIME",
        default_value = "250ms",
        value_parser = duration
    )]
    pub retry_wait: Duration,

    /// Longest silence between two pieces of an answer. Comments, which some servers send to keep a
    /// connection alive, do not count as pieces
    #[arg(
        long,
        env = "FEATHERWIRE_IDLE_TIMEOUT",
        value_name = "TIME",
        default_value = "60s",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub idle_timeout: Duration,

    /// Whether requests may be sent without an API key: an upstream of the operator's own.
    #[arg(skip)]
    pub works_without_key: bool,
}

impl Upstream {
    /// Checks the options together.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("APP_TITLE", Some(&self.app_title)),
            ("APP_URL", self.app_url.as_ref()),
        ] {
            if value.is_some_and(|value| http::HeaderValue::from_str(value).is_err()) {
                let flag = name.to_lowercase().replace('_', "-");
                return Err(format!(
                    "FEATHERWIRE_{name} (--{flag}) has a line end or another character that a \
                     header cannot contain: write plain text, such as Featherwire"
                ));
            }
        }
        match self.api_key() {
            Some(key) if !is_header_token(key.expose_secret()) => Err(
                "FEATHERLESS_API_KEY (--featherless-api-key) has a character that a header cannot \
                 contain: copy the key again, without spaces or line ends"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// The API key, if one is set. An empty value, as in an unedited `.env`, counts as unset.
    pub fn api_key(&self) -> Option<&SecretString> {
        self.featherless_api_key
            .as_ref()
            .filter(|key| !key.expose_secret().trim().is_empty())
    }
}
