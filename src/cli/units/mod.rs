//! `featherwire units`: shows the account's concurrency units live, from a running gateway by gRPC.
//!
//! In a terminal this is a full screen: `feed` tells the news, `state` keeps what is shown, `view`
//! draws it into cells of text, `screen` writes these to the terminal, and `inputs` reads its keys.
//! Elsewhere it is `plain` text.

use std::{
    io::{self, IsTerminal},
    pin::pin,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use self::{
    feed::Feed,
    inputs::{Input, Inputs},
    screen::Screen,
    state::State,
};
use super::{client, failure::Failure, output, progress::Progress, shutdown_signal};
use crate::{config, proto::v1::account_service_client::AccountServiceClient};

mod accounts;
mod circuits;
mod cluster;
mod feed;
mod inputs;
mod plain;
mod screen;
mod state;
mod view;

/// The time between two pictures if nothing changes, and between two points of the history.
const TICK: Duration = Duration::from_secs(1);

/// The news that wait to be shown.
const NEWS_MAX: usize = 8;

/// Shows the account's concurrency units live: what uses them and which requests wait. In a
/// terminal this is a full screen, which `q` or Ctrl-C ends. Otherwise each change is one line.
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
        let is_terminal = io::stdout().is_terminal();
        let address = &self.gateway.gateway;
        let progress = Progress::start(format!("connecting to {address}"));
        let (channel, key) = client::connect(&self.gateway).await?;
        let client = AccountServiceClient::with_interceptor(channel, key)
            .max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        let mut feed = Feed::open(client).await?;
        if is_terminal && !self.once && !config::is_dumb() {
            drop(progress);
            show(feed, State::new(address.clone())).await?;
            return Ok(ExitCode::SUCCESS);
        }
        while let Some(snapshot) = feed.next().await? {
            progress.end();
            output::print(match is_terminal {
                true => plain::display(&snapshot),
                false => plain::line(&snapshot),
            })?;
            if self.once {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Shows the full screen until the user ends it.
async fn show(feed: Feed, mut state: State) -> Result<(), Failure> {
    let mut shutdown = pin!(shutdown_signal::shutdown());
    let (news, mut told) = mpsc::channel(NEWS_MAX);
    let mut following = pin!(feed.follow(news));
    let mut screen = Screen::enter()?;
    let mut inputs = Inputs::read();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        screen.draw(&state)?;
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            never = &mut following => match never {},
            Some(news) = told.recv() => state.apply(news),
            input = inputs.next() => match input {
                Input::Quit => return Ok(()),
                Input::Resize => {}
            },
            _ = ticks.tick() => state.sample(),
        }
    }
}
