use crate::support::server::Server;

fn server() -> Option<Server> {
    Some(Server::emulator())
}

#[path = "scenarios/mod.rs"]
mod scenarios;
