use crate::support::server::Server;

fn server() -> Option<Server> {
    Server::azurite()
}

#[path = "scenarios/mod.rs"]
mod scenarios;
