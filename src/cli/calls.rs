//! `featherwire calls`: the last calls, one a line, and those that follow.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    columns::{self, all_shortened, longest},
    failure::Failure,
    ledger::{Filter, Source, rfc3339_ms, short_number, short_time, time},
    output,
    progress::Progress,
};
use crate::{
    clock::UnixMs,
    config,
    ledger::{CallFilter, Cursor, Ending, Record},
};

/// The time between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much later than others a call may come into the database, in milliseconds. Gateways write
/// their calls together, and not at the same time.
const LATE_MS: i64 = 15_000;

/// The largest number of calls.
const LIMIT_MAX: i64 = 100_000;

/// Shows the last calls that have ended, the latest at the end. They are read in the gateway's
/// database, or through a running gateway (--gateway).
#[derive(Args, Debug)]
pub struct Calls {
    /// Then show each call that ends, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// Only calls of these keys, by id or name, comma-separated
    #[arg(long, value_name = "KEY,…", value_delimiter = ',')]
    key: Vec<String>,

    /// Only calls of this model, by the name that was asked for or that answered
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// Only calls of this account of a gateway with several
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,

    /// Only calls that ended so
    #[arg(long, value_name = "HOW")]
    end: Option<End>,

    /// The earliest calls: a time before now, or a date (in UTC)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMs>,

    /// The largest number of calls, of the last ones
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX)
    )]
    limit: u32,

    /// Print JSON: a list, or with --follow an object on each line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: config::AdminPlace,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum End {
    /// The answer was complete
    Finished,
    /// With an error
    Failed,
    /// The caller left
    Cancelled,
}

impl Calls {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let progress = Progress::start("reading the calls");
        let source = Source::open(&self.place).await?;
        let mut calls = CallFilter {
            model: self.model.clone(),
            account: self.account.clone(),
            ending: self.end.map(|end| match end {
                End::Finished => Ending::Finished,
                End::Failed => Ending::Failed,
                End::Cancelled => Ending::Cancelled,
            }),
            ..CallFilter::default()
        };
        calls.range.start = self.since.unwrap_or(calls.range.start);
        let filter = source.filter(self.key.clone(), calls).await?;
        // Calls that ended before this command, and that are not among the last ones, are not shown
        // later. This is read first: a call may come between the two.
        let mut seen = BTreeSet::new();
        let mut newest = UnixMs::MIN;
        if self.follow {
            newest = source.now().await?;
            let mut recent = filter.clone();
            let range = &mut recent.calls.range;
            range.start = range.start.max(newest.saturating_sub(LATE_MS));
            let see = |page: Vec<Record>| {
                seen.extend(page.iter().map(Record::cursor));
                Ok(())
            };
            source.each(&recent, see).await?;
        }
        let mut calls = source.last(&filter, self.limit).await?;
        drop(progress);
        calls.reverse();
        let widths = Widths::new(columns::of_terminal(), &calls);
        if self.json && !self.follow {
            let calls: Vec<_> = calls.iter().map(CallJson::new).collect();
            output::print(serde_json::to_string_pretty(&calls)? + "\n")?;
        } else {
            if !self.json {
                output::tell(widths.line(["ENDED", "KEY", "MODEL", "END", "TOKENS", "TIME"]));
            }
            self.print(&calls, widths)?;
        }
        if self.follow {
            seen.extend(calls.iter().map(Record::cursor));
            self.follow(&source, filter, newest, seen, widths).await?;
        }
        source.close().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Shows the calls that are not among those that were `seen`, until the process ends. `newest`
    /// is the time of the last look.
    async fn follow(
        &self,
        source: &Source,
        mut filter: Filter,
        mut newest: UnixMs,
        mut seen: BTreeSet<Cursor>,
        widths: Widths,
    ) -> Result<(), Failure> {
        let earliest = filter.calls.range.start;
        loop {
            // A call of another gateway comes late, or with a clock that is behind.
            let start = earliest.max(newest.saturating_sub(LATE_MS));
            filter.calls.range.start = start;
            let show = |page: Vec<Record>| {
                let new = page
                    .into_iter()
                    .filter(|call| seen.insert(call.cursor()))
                    .inspect(|call| newest = newest.max(call.ended_at));
                self.print(&new.collect::<Vec<_>>(), widths)
            };
            source.each(&filter, show).await?;
            // What is older is not read again.
            seen.retain(|cursor| cursor.ended_at >= start);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn print(&self, calls: &[Record], widths: Widths) -> Result<(), Failure> {
        let mut text = String::new();
        if self.json {
            for call in calls {
                text += &serde_json::to_string(&CallJson::new(call))?;
                text.push('\n');
            }
        } else {
            text = widths.rows(calls);
        }
        if text.is_empty() {
            return Ok(());
        }
        output::print(text)
    }
}

/// A call as JSON. Times are RFC 3339 in UTC.
#[derive(Serialize)]
struct CallJson<'a> {
    id: String,
    arrived_at: String,
    ended_at: String,
    key: &'a str,
    key_id: String,
    door: &'static str,
    rpc: &'static str,
    model_asked: &'a str,
    model_answered: Option<&'a str>,
    account: Option<&'a str>,
    end: &'static str,
    error: Option<&'a str>,
    prompt_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    cached_tokens: u64,
    tokens_from: &'static str,
    units: u32,
    unit_seconds: f64,
    waited_ms: u64,
    first_token_ms: Option<u64>,
    duration_ms: u64,
    attempts: u32,
    request_id: Option<&'a str>,
    upstream_request_id: Option<&'a str>,
}

impl<'a> CallJson<'a> {
    fn new(call: &'a Record) -> Self {
        Self {
            id: call.id.to_string(),
            arrived_at: rfc3339_ms(call.arrived_at()),
            ended_at: rfc3339_ms(call.ended_at),
            key: &call.key_name,
            key_id: call.key_id.to_string(),
            door: call.door.name(),
            rpc: call.rpc.name(),
            model_asked: &call.model_asked,
            model_answered: call.model_answered(),
            account: Some(&*call.account).filter(|account| !account.is_empty()),
            end: call.ending.name(),
            error: call.error_code.as_deref(),
            prompt_tokens: call.tokens.prompt,
            completion_tokens: call.tokens.completion,
            reasoning_tokens: call.tokens.reasoning,
            cached_tokens: call.tokens.cached,
            tokens_from: call.tokens.source.name(),
            units: call.units,
            unit_seconds: call.unit_ms as f64 / 1000.0,
            waited_ms: call.waited_ms,
            first_token_ms: call.first_token_ms,
            duration_ms: call.duration_ms,
            attempts: call.attempts,
            request_id: call.request_id.as_deref(),
            upstream_request_id: call.upstream_request_id.as_deref(),
        }
    }
}

/// How wide the columns of names are, and whether what is longer is cut.
#[derive(Clone, Copy)]
struct Widths {
    key: usize,
    model: usize,
    end: usize,
    cuts: bool,
}

/// What lines take without the columns of names. The last column of a terminal stays empty.
const OTHERS: usize = 38;

impl Widths {
    /// Those of a terminal of 80 columns.
    const NARROW: Self = Self {
        key: 12,
        model: 18,
        end: 12,
        cuts: true,
    };

    /// For a terminal of this number of columns. `None`: no terminal, and nothing is cut. Then the
    /// columns have room for these calls.
    fn new(columns: Option<usize>, calls: &[Record]) -> Self {
        let Self {
            key, model, end, ..
        } = Self::NARROW;
        match columns {
            Some(columns) => {
                let more = columns.saturating_sub(columns::MIN);
                let (key, end) = (key + (more / 3).min(12), end + (more / 3).min(16));
                let model = columns.saturating_sub(OTHERS + key + end).min(64);
                Self {
                    key,
                    model,
                    end,
                    cuts: true,
                }
            }
            None => Self {
                key: longest(calls.iter().map(|call| &*call.key_name)).max(key),
                model: longest(calls.iter().map(model_of)).max(model),
                end: longest(calls.iter().map(end_of)).max(end),
                cuts: false,
            },
        }
    }

    fn line(self, columns: [&str; 6]) -> String {
        let Self {
            key: key_width,
            model: model_width,
            end: end_width,
            ..
        } = self;
        let [at, key, model, end, tokens, time] = columns;
        format!(
            "{at:14}  {key:key_width$}  {model:model_width$}  {end:end_width$}  {tokens:>7}  \
             {time:>6}\n"
        )
    }

    /// A line for each call.
    fn rows(self, calls: &[Record]) -> String {
        let fit = |texts: Vec<String>, width| {
            all_shortened(&texts, if self.cuts { width } else { usize::MAX })
        };
        let keys = calls.iter().map(|call| call.key_name.to_string());
        let keys = fit(keys.collect(), self.key);
        let ends = calls.iter().map(|call| end_of(call).to_owned());
        let ends = fit(ends.collect(), self.end);
        let models = calls
            .iter()
            .map(|call| self.without_organisation(model_of(call)));
        let models = fit(models.collect(), self.model);
        let names = keys.iter().zip(&models).zip(&ends);
        let lines = calls.iter().zip(names).map(|(call, ((key, model), end))| {
            let at = rfc3339_ms(call.ended_at);
            // Such as `11-29 12:00:00`.
            let at = at.get(5..19).unwrap_or_default().replace('T', " ");
            let tokens = call.tokens.prompt.saturating_add(call.tokens.completion);
            let (tokens, time) = (short_number(tokens), short_time(call.duration_ms));
            self.line([&at, key, model, end, &tokens, &time])
        });
        lines.collect()
    }

    /// A name that is too long, without its organisation: the rest tells more.
    fn without_organisation(self, model: &str) -> String {
        let is_long = self.cuts && model.chars().count() > self.model;
        match model.rsplit('/').next() {
            Some(short) if is_long => short.to_owned(),
            _ => model.to_owned(),
        }
    }
}

fn model_of(call: &Record) -> &str {
    call.model_answered().unwrap_or(&call.model_asked)
}

fn end_of(call: &Record) -> &str {
    call.error_code.as_deref().unwrap_or(call.ending.name())
}
