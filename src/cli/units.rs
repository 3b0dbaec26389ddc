//! `featherwire units`: shows the account's concurrency units live, from a running gateway by gRPC.

use std::{fmt::Write as _, io::IsTerminal, process::ExitCode};

use clap::Args;
use terminal_size::{Height, Width};

use super::{client, failure::Failure, output};
use crate::{
    config,
    proto::v1::{
        Concurrency, GatewayUnits, WatchConcurrencyRequest,
        account_service_client::AccountServiceClient,
    },
};

/// The width of the bar of units, in characters.
const BAR_WIDTH: usize = 40;

/// The largest number of requests that is shown.
const REQUESTS_SHOWN_MAX: usize = 20;

/// Moves the cursor to the upper left corner and clears the screen (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows the account's concurrency units live: what uses them and which requests wait. In a
/// terminal the display is redrawn at each change. Otherwise each change is one line.
#[derive(Args, Debug)]
pub struct Units {
    /// Show the current state once, and exit
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    gateway: config::Gateway,
}

impl Units {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let (channel, key) = client::connect(&self.gateway).await?;
        let mut client = AccountServiceClient::with_interceptor(channel, key)
            .max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        let watch = client.watch_concurrency(WatchConcurrencyRequest {}).await;
        let mut snapshots = watch
            .map_err(|status| client::failure(&status))?
            .into_inner();
        let is_terminal = std::io::stdout().is_terminal();
        while let Some(snapshot) = snapshots
            .message()
            .await
            .map_err(|status| client::failure(&status))?
        {
            let text = match (is_terminal, self.once) {
                (true, false) => format!("{CLEAR}{}", fit_to_terminal(&display(&snapshot))),
                (true, true) => display(&snapshot),
                (false, _) => line(&snapshot),
            };
            output::print(text)?;
            if self.once {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The part of the display that fits into the terminal. A line that wraps or scrolls could not be
/// overwritten at the next change.
fn fit_to_terminal(display: &str) -> String {
    let Some((Width(width), Height(height))) = terminal_size::terminal_size() else {
        return display.to_owned();
    };
    let lines: Vec<_> = display.lines().collect();
    let rows = usize::from(height).saturating_sub(1);
    let more = lines.len().saturating_sub(rows);
    let shown = if more > 0 {
        rows.saturating_sub(1)
    } else {
        lines.len()
    };
    let mut fit_to_terminal = String::new();
    for line in lines.iter().take(shown) {
        fit_to_terminal.extend(line.chars().take(usize::from(width)));
        fit_to_terminal.push('\n');
    }
    if more > 0 {
        fit_to_terminal.push_str("… the terminal has too few lines for the rest\n");
    }
    fit_to_terminal
}

fn line(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    format!(
        "used {} of {}  gateway {}  others {}  running {}  waiting {}  longest wait {}  \
         refused {}  undecodable {}\n",
        count(snapshot.used_cost),
        limit(snapshot),
        gateway.in_use,
        gateway.outside,
        gateway.running,
        waiting(&gateway),
        seconds(gateway.oldest_wait_ms),
        gateway.refusals,
        gateway.odd_messages,
    )
}

fn display(snapshot: &Concurrency) -> String {
    let gateway = snapshot.gateway.clone().unwrap_or_default();
    let mut text = format!(
        "units    {}  {} of {} used\n         {} by this gateway, {} by other processes, \
         {} in cooldown\n",
        bar(&gateway, snapshot),
        count(snapshot.used_cost),
        limit(snapshot),
        gateway.in_use,
        gateway.outside,
        gateway.settling,
    );
    let queued = gateway.queued.clone().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "waiting  {}: {} interactive, {} default, {} batch; longest wait {} so far\nwaits    \
         p50 {}, p99 {}{}\nrefused  {} by Featherless",
        waiting(&gateway),
        queued.interactive,
        queued.default,
        queued.batch,
        seconds(gateway.oldest_wait_ms),
        seconds(gateway.wait_p50_ms),
        seconds(gateway.wait_p99_ms),
        if waiting(&gateway) > 0 {
            " including requests that still wait"
        } else {
            " recently"
        },
        gateway.refusals,
    );
    if gateway.odd_messages > 0 {
        let odd = gateway.odd_messages;
        let _ = writeln!(
            text,
            "ignored  {odd} messages from Featherless about units could not be decoded"
        );
    }
    let _ = writeln!(text, "\n  KEY  WEIGHT  UNITS  WAITING  UNIT-SECONDS");
    for key in &gateway.keys {
        let (number, weight, units) = (key.key, key.weight, key.in_use);
        let _ = writeln!(
            text,
            "{number:>5}  {weight:>6}  {units:>5}  {:>7}  {:>12.0}",
            key.queued, key.unit_seconds
        );
    }
    let _ = writeln!(text, "\nUNITS    FOR  MODEL");
    for request in snapshot.requests.iter().take(REQUESTS_SHOWN_MAX) {
        let (cost, running) = (count(request.cost), seconds(request.duration_ms));
        let model = printable(request.model.as_deref().unwrap_or("?"));
        let _ = writeln!(text, "{cost:>5}  {running:>5}  {model}");
    }
    if let Some(more) = snapshot
        .requests
        .len()
        .checked_sub(REQUESTS_SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "              and {more} more");
    }
    text
}

/// A number, or `?` if Featherless does not send it.
fn count(number: Option<i32>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// A bar of the units: `#` for this gateway, `+` for other processes, `.` for free units.
fn bar(gateway: &GatewayUnits, snapshot: &Concurrency) -> String {
    let size = |units: i32| usize::try_from(units).unwrap_or_default();
    let total = size(snapshot.limit.unwrap_or_default())
        .max(size(snapshot.used_cost.unwrap_or_default()))
        .max(1);
    let scaled = |units: i32| (size(units) * BAR_WIDTH).div_ceil(total).min(BAR_WIDTH);
    let own_units = scaled(gateway.in_use);
    let other_units = scaled(gateway.outside).min(BAR_WIDTH - own_units);
    format!(
        "[{}{}{}]",
        "#".repeat(own_units),
        "+".repeat(other_units),
        ".".repeat(BAR_WIDTH - own_units - other_units)
    )
}

fn waiting(gateway: &GatewayUnits) -> i32 {
    gateway.queued.as_ref().map_or(0, |queued| {
        queued.interactive + queued.default + queued.batch
    })
}

/// The limit of the plan, or `?` if Featherless does not send it.
fn limit(snapshot: &Concurrency) -> String {
    if snapshot.unlimited {
        "unlimited".to_owned()
    } else {
        count(snapshot.limit)
    }
}

fn seconds(milliseconds: Option<i64>) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    milliseconds.map_or_else(
        || "-".to_owned(),
        |milliseconds| format!("{:.1} s", milliseconds as f64 / 1000.0),
    )
}

/// A model id without control characters. A caller can send any text as a model id, and control
/// characters would control the terminal.
fn printable(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).collect()
}
