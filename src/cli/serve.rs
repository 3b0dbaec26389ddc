//! `featherwire serve`: checks the configuration, binds, serves and drains.

use std::{net::SocketAddr, process::ExitCode};

use secrecy::SecretString;
use tokio::net::TcpListener;

use super::{failure::Failure, listen, output, shutdown_signal, supervisor};
use crate::{
    build_info,
    config::{self, DatabaseLocation},
    descriptors, emulator,
    keys::{Directory, Refresh, Repository},
    ledger::{Queries, Settings, Writer},
    server::{self, Administration, Outcome},
    store::Store,
    upstream::Client,
    workers::Workers,
};

pub async fn run(mut config: config::Serve) -> Result<ExitCode, Failure> {
    config.check()?;
    descriptors::raise_limit();
    let store = Store::open(&config.database()?).await?;
    store.migrate().await?;
    let keys = Directory::new(&config.api_keys, &config.units.key_weights);
    let ledger = Writer::start(store.clone(), ledger_settings(&config)).await;
    let refresh = Refresh::start(keys.clone(), Repository::new(store.clone())).await?;
    config.check_listen(keys.is_open())?;
    config.check_admin_listen(keys.has_admin())?;
    let listener = listen::bind(config.listen, "--listen", "FEATHERWIRE_LISTEN").await?;
    let address = listener.local_addr()?;
    let admin_listener = match config.admin_listen {
        Some(at) => Some(listen::bind(at, "--admin-listen", "FEATHERWIRE_ADMIN_LISTEN").await?),
        None => None,
    };
    if config.emulator {
        let emulator = start_emulator(&config.emulator_options).await?;
        config.upstream.featherless_base_url = format!("http://{emulator}/v1").parse()?;
        config.upstream.featherless_api_key = Some(SecretString::from("emulator"));
    }
    let upstream = Client::new(&config.upstream)?;
    let workers = Workers::start(config.workers())?;
    let admin = match &admin_listener {
        Some(listener) => listener.local_addr()?,
        None => address,
    };
    print_banner(&config, &keys, address, admin, upstream.has_key());
    if let Some(listener) = &admin_listener {
        let address = listener.local_addr()?;
        output::tell(format_args!("  administration: http://{address}\n"));
    }
    // Signals are received from here on. The server polls this first when it serves callers.
    let signal = shutdown_signal::shutdown();
    let drain_timeout = config.drain_timeout;
    let shutdown = async {
        supervisor::ready(address);
        signal.await;
        supervisor::stopping(drain_timeout);
    };
    let keys = Administration {
        manager: refresh.manager(),
        queries: Queries::new(store.queries()),
        listener: admin_listener,
    };
    let records = ledger.ledger();
    let serving = server::serve(
        listener, &config, keys, records, upstream, &workers, shutdown,
    );
    let outcome = tokio::select! {
        outcome = serving => outcome,
        never = supervisor::watchdog() => match never {},
    };
    // All calls have ended.
    ledger.end().await;
    refresh.end().await;
    store.close().await;
    match outcome? {
        Outcome::Drained => Ok(ExitCode::SUCCESS),
        Outcome::Cut(calls) => {
            output::tell(format_args!(
                "featherwire: {calls} calls were still running after --drain-timeout and were \
                 ended with an error\n"
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn ledger_settings(config: &config::Serve) -> Settings {
    Settings {
        spill_directory: config.spill_directory(),
        spill_bytes_max: config.ledger.ledger_spill_bytes.as_u64(),
        retention: config.ledger.ledger_retention,
    }
}

/// Starts the emulator on a free port. The gateway reaches it over a socket, like Featherless.
async fn start_emulator(emulator_options: &config::EmulatorOptions) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = super::emulator::config(emulator_options);
    // The task outlives this function on purpose. It serves until the process ends.
    tokio::spawn(emulator::serve(listener, config, std::future::pending()));
    Ok(address)
}

/// `admin`: where keys are managed while the gateway runs.
fn print_banner(
    config: &config::Serve,
    keys: &Directory,
    address: SocketAddr,
    admin: SocketAddr,
    has_key: bool,
) {
    let upstream = if config.emulator {
        "the built-in emulator"
    } else {
        config.upstream.featherless_base_url.as_str()
    };
    let callers = match keys.valid_keys() {
        _ if keys.is_open() && matches!(config.database(), Ok(DatabaseLocation::Memory)) => {
            format!(
                "every caller on this machine is accepted; `featherwire keys create --gateway \
                 http://{admin}` requires a key. Keys are only in memory: --database-url keeps them"
            )
        }
        _ if keys.is_open() => {
            "every caller on this machine is accepted; `featherwire keys create` or \
              FEATHERWIRE_API_KEYS=gw_live_… requires a key"
                .to_owned()
        }
        0 => "there is no key for calls: `featherwire keys create` makes one".to_owned(),
        1 => "callers must send the gateway key".to_owned(),
        keys => format!("callers must send one of {keys} gateway keys"),
    };
    let missing = if has_key {
        ""
    } else {
        "  ! Featherless API key not configured: every call fails until FEATHERLESS_API_KEY is \
         set\n"
    };
    let link_host = if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    };
    output::tell(format_args!(
        "Featherwire {} on http://{address}\n  gRPC, gRPC-Web and REST (/v1/chat/completions) on \
         this port; answers come from {upstream}\n  {callers}\n{missing}  documentation: \
         http://{link_host}/docs\n",
        build_info::version_and_revision()
    ));
}
