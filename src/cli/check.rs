//! `featherwire check`: one real call straight to the upstream of each account.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use futures_util::StreamExt;

use super::{
    failure::Failure,
    output, printable,
    progress::Progress,
    tls_problem::{self, Server},
};
use crate::{
    config,
    error::{Error, ErrorCode},
    proto::v1::{ChatMessage, CreateChatCompletionRequest, ModelFilter, StreamOptions, Usage},
    service::{Accounts, Call, Chat, Dispatch, UnaryOrStream, Units, headers::UPSTREAM_REQUEST_ID},
    upstream::{Catalogue, Client, ModelNames, RequestOptions},
};

/// Makes one real call to Featherless, without a gateway in between, for each account. It streams a
/// short answer and prints the answer, its usage and its timing, or the problem and how to fix it.
#[derive(Args, Debug)]
pub struct Check {
    /// The model to ask
    #[arg(
        long,
        short,
        value_name = "ID",
        default_value = "meta-llama/Meta-Llama-3.1-8B-Instruct"
    )]
    model: String,

    /// The prompt
    #[arg(default_value = "Say hello in 5 words")]
    prompt: String,

    #[command(flatten)]
    upstream: config::Upstream,

    /// The accounts of the configuration file.
    #[arg(skip)]
    pub(super) accounts: Vec<config::Account>,
}

impl Check {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        self.upstream.check()?;
        let has_key = self.upstream.api_key().is_some();
        config::check_accounts(&self.accounts, has_key, false)?;
        if self.accounts.is_empty() {
            let works = self.check(&self.upstream, &self.model).await?;
            return Ok(exit_code(works));
        }
        let mut works = true;
        for account in &self.accounts {
            output::print(format_args!("account   {}\n", account.name))?;
            let upstream = account.upstream(&self.upstream);
            works &= match self.model_of(account) {
                Some(model) => self.check(&upstream, model).await?,
                None => self.check_first(account, &upstream).await?,
            };
            output::print("\n")?;
        }
        Ok(exit_code(works))
    }

    /// The model to ask an account for: the one of `--model`, or else the first that its patterns
    /// name exactly.
    fn model_of<'a>(&'a self, account: &'a config::Account) -> Option<&'a str> {
        if account.models.is_empty() || account.models.iter().any(|it| it.matches(&self.model)) {
            return Some(&self.model);
        }
        let mut patterns = account.model_patterns.iter().map(|it| it.trim());
        patterns.find(|pattern| !pattern.contains(['*', '?']))
    }

    /// Makes a call to the upstream of an account for the first model of its list that a pattern
    /// of the account has. Returns whether it answers.
    async fn check_first(
        &self,
        account: &config::Account,
        upstream: &config::Upstream,
    ) -> Result<bool, Failure> {
        let first = async {
            let catalogue = Catalogue::new(Client::new(upstream)?, ModelNames::default());
            let copy = catalogue.get(RequestOptions::default()).await?;
            let is_asked = |id: &str| account.models.iter().any(|glob| glob.matches(id));
            let page = copy.page(&ModelFilter::default(), is_asked, None, 1);
            let model = page.models.into_iter().next();
            model.ok_or_else(|| no_model_of(account, upstream))
        };
        match first.await {
            Ok(model) => self.check(upstream, &model.id).await,
            Err(error) => {
                print_problem(&error)?;
                Ok(false)
            }
        }
    }

    /// Makes a call to one upstream. Returns whether it answers.
    async fn check(&self, upstream: &config::Upstream, model: &str) -> Result<bool, Failure> {
        let key = match upstream.api_key() {
            Some(_) => "configured",
            None if upstream.works_without_key => "none",
            None => "missing",
        };
        output::print(format_args!(
            "upstream  {}\nAPI key   {key}\nmodel     {model}\nprompt    {}\n",
            upstream.featherless_base_url, self.prompt
        ))?;
        match self.ask(upstream, model).await {
            Ok(()) => Ok(true),
            Err(CheckError::Output(failure)) => Err(failure),
            Err(CheckError::Upstream(error)) => {
                print_problem(&error)?;
                Ok(false)
            }
        }
    }

    async fn ask(&self, upstream: &config::Upstream, model: &str) -> Result<(), CheckError> {
        let upstream = Client::new(upstream)?;
        let catalogue = Catalogue::new(upstream.clone(), ModelNames::default());
        let units = Units::unbounded(upstream.clone(), catalogue.clone());
        let models = config::Models::default();
        let accounts = Accounts::only(upstream, &catalogue, units, &models);
        let dispatch = Dispatch::new(accounts, catalogue, &models);
        let chat = Chat::new(dispatch, false);
        let request = CreateChatCompletionRequest {
            model: model.to_owned(),
            messages: vec![ChatMessage {
                role: "user".to_owned(),
                content: Some(self.prompt.clone()),
                ..ChatMessage::default()
            }],
            max_tokens: Some(50),
            stream_options: Some(StreamOptions {
                include_usage: Some(true),
                ..StreamOptions::default()
            }),
            ..CreateChatCompletionRequest::default()
        };
        let progress = Progress::start(format!("waiting for {model}"));
        let started = Instant::now();
        let reply = chat.stream(Call::internal(), Box::new(request)).await?;
        progress.end();
        if let Some(Ok(id)) = reply
            .headers
            .get(UPSTREAM_REQUEST_ID)
            .map(http::HeaderValue::to_str)
        {
            output::print(format_args!("request   {id}\n"))?;
        }
        output::print("\nanswer    ")?;
        // The spinner would stand in the line of the answer, so there is none from here on.
        let (mut stream, mut first, mut usage) = (reply.answer, None, None::<Usage>);
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk.into_message(),
                Err(error) => {
                    output::print("\n")?;
                    return Err(error.into());
                }
            };
            usage = chunk.usage.or(usage);
            for delta in chunk.choices.into_iter().filter_map(|choice| choice.delta) {
                if let Some(text) = delta.content.filter(|_| delta.tool_calls.is_empty()) {
                    if !text.is_empty() {
                        first.get_or_insert_with(|| started.elapsed());
                    }
                    output::print(printable::text(&text))?;
                }
            }
        }
        let total = started.elapsed();
        output::print("\n")?;
        if let Some(usage) = usage {
            let count = |tokens: Option<i32>| {
                tokens.map_or_else(|| "?".to_owned(), |tokens| tokens.to_string())
            };
            output::print(format_args!(
                "usage     {} prompt + {} completion = {} tokens\n",
                count(usage.prompt_tokens),
                count(usage.completion_tokens),
                count(usage.total_tokens)
            ))?;
        }
        output::print(format_args!(
            "timing    first token after {:.2} s, complete after {:.2} s\n\nFeatherless answers: \
             the gateway will work with this configuration.\n",
            first.unwrap_or(total).as_secs_f64(),
            total.as_secs_f64()
        ))?;
        Ok(())
    }
}

fn no_model_of(account: &config::Account, upstream: &config::Upstream) -> Error {
    let message = format!(
        "The list of {} has no model that a pattern of the account {} has: correct its models, or \
         name a model by --model",
        upstream.featherless_base_url, account.name
    );
    Error::new(ErrorCode::ModelNotFound, message)
}

fn print_problem(error: &Error) -> Result<(), Failure> {
    let (code, kind) = (error.code(), error.kind().row().openai);
    let message = printable::text(error.message());
    output::print(format_args!(
        "\nproblem   {code} ({kind})\n          {message}\n"
    ))?;
    let cause = error.cause();
    if !cause.is_empty() {
        output::print(format_args!("cause     {cause}\n"))?;
    }
    if let Some(problem) = tls_problem::sentence(error, Server::Upstream) {
        output::print(format_args!("TLS       {problem}\n"))?;
    }
    if let Some(url) = error.help() {
        output::print(format_args!("see       {url}\n"))?;
    }
    Ok(())
}

fn exit_code(works: bool) -> ExitCode {
    match works {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The reason for which there is no complete answer.
enum CheckError {
    Upstream(Error),
    Output(Failure),
}

impl From<Error> for CheckError {
    fn from(error: Error) -> Self {
        Self::Upstream(error)
    }
}

impl From<Failure> for CheckError {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}
