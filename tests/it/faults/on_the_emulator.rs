use crate::support::server::Server;

fn server() -> Option<Server> {
    Some(Server::emulator())
}

#[path = "scenarios.rs"]
mod scenarios;
