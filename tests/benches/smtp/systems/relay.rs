//! This daemon.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use relay_tests::benchmark::{Standing, Subject};
use relay_tests::daemon::binary;

use super::running::end_of;
use super::{Place, Running, System, free_address};
use crate::cpus;

pub struct Relay {
    program: PathBuf,
    /// A next hop that accepts connections and never greets: attempts wait there, and no others are
    /// made.
    mute: TcpListener,
}

impl Relay {
    pub fn find() -> std::result::Result<Self, String> {
        let program = binary().map_err(|error| format!("relay: {error:#}"))?.to_owned();
        let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Ok(Self { program, mute: mute.map_err(|error| format!("relay: {error}"))? })
    }
}

impl System for Relay {
    fn subject(&self) -> Subject {
        Subject {
            name: format!("relay {}", env!("CARGO_PKG_VERSION")),
            standing: Standing::Ours,
            acceptance: "message and envelope are synced, in a group with other messages that \
                         arrived meanwhile"
                .to_owned(),
            settings: "one externally secured connector without limits of connections; classified \
                       in user space. If only acceptance is measured, the next hop accepts \
                       connections and never greets"
                .to_owned(),
        }
    }

    fn start(&self, place: Place<'_>) -> Result<Running> {
        let address = free_address()?;
        let Place { folder, next_hop } = place;
        let next_hop = match next_hop {
            Some(next_hop) => next_hop,
            None => self.mute.local_addr()?,
        };
        let configuration = folder.join("relay.toml");
        let queue = folder.join("queue");
        let text = format!(
            "hostname = \"relay.example\"\n\
             [queue]\ndirectory = \"{}\"\n\
             [control]\nsocket = \"{}\"\n\
             [delivery]\nsmart_host = \"{next_hop}\"\n\
             [classifier]\nmode = \"userspace\"\n\
             [[connector]]\nname = \"Generator\"\nbindings = [\"{address}\"]\n\
             remote_ip_ranges = [\"127.0.0.0/8\"]\n\
             auth_mechanism = [\"ExternalAuthoritative\"]\n\
             permission_groups = [\"ExchangeServers\"]\n\
             max_inbound_connection = 10000\n\
             max_inbound_connection_per_source = 10000\n\
             max_inbound_connection_percentage_per_source = 100\n",
            queue.display(),
            folder.join("control.sock").display(),
        );
        fs::create_dir_all(&queue)?;
        fs::write(&configuration, text)?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = cpus::of_the_server(&self.program);
        command.args(["run", "-c"]).arg(&configuration);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Running::begin(command.spawn()?, address).with_context(|| end_of(&folder.join("log")))
    }
}
