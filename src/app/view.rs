//! What is shown to those who look in from the side.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::App;
use super::standing::Standing;
use crate::api::{Api, Shown, View};
use crate::event::Device;
use crate::task::{Clock, SystemClock};

/// What is shown before there is anything to show.
pub(super) fn nothing(device: &Device) -> Shown {
    Arc::new(ArcSwap::from_pointee(View::new(device.id.clone(), SystemClock.now())))
}

impl App {
    /// Shows the device as it is now, closes the window of the summaries when it is over, and has streams kept
    /// over a restart when it is time; to be called once a second or so.
    pub fn tick(&mut self) {
        let view = self.view();
        if let Some(summaries) = &mut self.summaries {
            summaries.look(&self.pipelines);
            summaries.tick(&view, &SystemClock);
        }
        self.keep_streams();
        self.shown.store(Arc::new(view));
    }

    /// Shows the device as it is now.
    pub(super) fn show(&self) {
        self.shown.store(Arc::new(self.view()));
    }

    fn view(&self) -> View {
        let connections = self.connections.iter();
        View {
            stalled: self.stalled.as_ref().map(ToString::to_string),
            pipelines: self.pipelines(),
            connections: connections
                .map(|(name, connection)| (name.clone(), connection.problem().map_or(Ok(()), Err)))
                .collect(),
            broker: self.broker.as_ref().map(Standing::state),
            outbox: self.outbox(),
            clouds: self.clouds(),
            ..View::new(self.device().id.clone(), SystemClock.now())
        }
    }

    /// Where the API listens, while it does.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().and_then(Standing::running).map(Api::address)
    }
}
