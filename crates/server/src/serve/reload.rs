//! Taking a changed configuration over while the server runs: SIGHUP.
//!
//! New streams are opened and served. Everything else that differs is named, and waits for the next start: what a
//! stream was created with, or what memory was laid out for, does not change under those who use it.

use super::message::Message;
use super::start::open;
use super::{Error, Server};
use crate::config::File;
use crate::plan::{Flags, Machine, Plan, StreamPlan};

impl Server {
    /// Reads the configuration again and takes over what can change while running. What is wrong with it is logged, and nothing
    /// changes then.
    pub fn reload(&mut self) {
        let Some(path) = self.plan.config_file.clone() else {
            tracing::warn!(
                "there is no configuration file to read again: the server was started without --config"
            );
            return;
        };
        // The command line allowed the addresses that are in use; a reload opens none.
        let flags = Flags {
            insecure_listen: true,
            ..Flags::default()
        };
        let read =
            File::read(&path).and_then(|file| Plan::compute(Some(&file), &flags, &Machine::here()));
        match read {
            Ok(fresh) => self.take_over(fresh),
            Err(problems) => {
                tracing::error!(file = %path.display(), %problems, "the configuration is refused; the old one stays")
            }
        }
    }

    fn take_over(&mut self, fresh: Plan) {
        let (mut added, mut later) = (0, Vec::new());
        for mut stream in fresh.streams {
            stream.worker = self.plan.worker_of(&stream.name);
            match self
                .plan
                .streams
                .iter()
                .find(|known| known.name == stream.name)
            {
                Some(known) if *known == stream => {}
                Some(_) => later.push(format!("stream {}", stream.name)),
                None if self.registry.find(&stream.name).is_some() => {}
                None => match self.adopt(stream.clone()) {
                    Ok(()) => added += 1,
                    Err(error) => {
                        tracing::error!(stream = stream.name, %error, "a stream of the configuration cannot be opened")
                    }
                },
            }
        }
        if fresh.limits != self.plan.limits {
            later.push("limits".to_owned());
        }
        if later.is_empty() {
            tracing::info!(added, "the configuration was read again");
        } else {
            tracing::warn!(
                added,
                differs = later.join(", "),
                "the configuration was read again; what differs takes effect at the next start"
            );
        }
    }

    fn adopt(&mut self, stream: StreamPlan) -> Result<(), Error> {
        let name = stream.name.clone();
        let refused = |reason: String| Error::Added {
            name: name.clone(),
            reason,
        };
        let id = self
            .registry
            .claim(&stream, true)
            .map_err(|refusal| refused(refusal.to_string()))?;
        let opened = open(id, stream, &self.plan, &self.registry.data)
            .inspect_err(|_| self.registry.release(&name))?;
        let owner = opened.plan.worker;
        let message = Message::Added {
            opened: Box::new(opened),
            configured: true,
            asked: None,
        };
        self.workers
            .outside
            .send(owner, message)
            .map_err(|_| refused("its worker is too busy; send SIGHUP again".to_owned()))
            .inspect_err(|_| {
                self.registry.release(&name);
            })?;
        self.workers.outside.flush();
        Ok(())
    }
}
