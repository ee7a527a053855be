//! The service: an echo at `/echo`, rooms everywhere else.

use hioload::{App, Conn, Message, Request, Upgrade};

/// One per shard.
pub struct Service;

/// What a connection came for.
#[derive(Default)]
pub enum Place {
    #[default]
    Echo,
    Room(String),
}

impl App for Service {
    type State = Place;

    fn upgrade(&mut self, request: &Request<'_>, place: &mut Place) -> Upgrade {
        if request.path() != "/echo" {
            *place = Place::Room(request.path().to_owned());
        }
        Upgrade::accept()
    }

    fn open(&mut self, conn: &mut Conn<'_>, place: &mut Place) {
        if let Place::Room(room) = place {
            conn.subscribe(room);
            conn.send("welcome");
        }
    }

    fn message(&mut self, conn: &mut Conn<'_>, place: &mut Place, message: Message<'_>) {
        match place {
            Place::Echo => {
                conn.send(message);
            }
            Place::Room(room) => {
                conn.publish(room, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hioload::testing::{Seen, Simulation};

    use super::Service;

    #[test]
    fn a_room_hears_what_one_of_it_says() -> Result<(), Box<dyn std::error::Error>> {
        let mut server = Simulation::new(1).shards(2).start(|_shard| Service)?;
        let people = [server.connect("/room"), server.connect("/room")];
        for person in people {
            server.run_until(Duration::from_secs(1), |server| {
                server.client(person).next() == Some(Seen::Text("welcome".into()))
            })?;
        }
        server.client(people[0]).text("news");
        server.run_until(Duration::from_secs(1), |server| {
            server.client(people[1]).next() == Some(Seen::Text("news".into()))
        })?;
        assert!(server.stop()?.is_nothing());
        Ok(())
    }
}
