//! What is shown to those who look in from the side.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::App;
use super::standing::Standing;
use super::updates::Updates;
use crate::api::{Api, PipelineStatus, Shown, View};
use crate::event::Device;
use crate::summary::Board;
use crate::task::{Clock, SystemClock};

/// What is shown before there is anything to show.
pub(super) fn nothing(device: &Device) -> Shown {
    Arc::new(ArcSwap::from_pointee(View::new(device.id.clone(), SystemClock.now())))
}

impl App {
    /// Shows the device as it is now, closes the window of the summaries when it is over, and has streams kept
    /// over a restart when it is time; to be called once a second or so.
    pub fn tick(&mut self) {
        self.ease();
        let view = self.view();
        if let Some(summaries) = &mut self.summaries {
            summaries.look(&self.pipelines);
            summaries.tick(&view, &SystemClock);
        }
        self.keep_streams();
        self.hang_out(view);
    }

    /// Lets each pipeline do with less, or with everything again.
    fn ease(&mut self) {
        let data = self.workshop.outbox.as_ref().map_or(Path::new("/"), |outbox| outbox.path());
        let mut seen = None;
        let mut board = || seen.get_or_insert_with(|| Board::read(data)).clone();
        for (name, pipeline) in &mut self.pipelines {
            pipeline.ease(name, &mut board, &*self.workshop.clock);
        }
    }

    /// Shows the device as it is now.
    pub(super) fn show(&self) {
        self.hang_out(self.view());
    }

    fn hang_out(&self, view: View) {
        let shown = &self.handles.shown;
        shown.store(Arc::new(view.after(&shown.load(), SystemClock.wall())));
    }

    fn view(&self) -> View {
        let connections = self.connections.iter();
        View {
            stalled: self.stalled.as_ref().map(ToString::to_string),
            pipelines: self.with_drift(),
            data: self.workshop.outbox.as_ref().map(|outbox| outbox.path().to_owned()),
            connections: connections
                .map(|(name, connection)| (name.clone(), connection.problem().map_or(Ok(()), Err)))
                .collect(),
            broker: self.broker.as_ref().map(Standing::state),
            outbox: self.outbox(),
            clouds: self.clouds(),
            traces: self.traces(),
            updates: self.updates.as_ref().map(Updates::status),
            jobs: self.api.as_ref().and_then(Standing::running).and_then(Api::jobs),
            ..View::new(self.device().id.clone(), SystemClock.now())
        }
    }

    fn with_drift(&self) -> Vec<PipelineStatus> {
        let mut all = self.pipelines();
        for status in &mut all {
            let summaries = self.summaries.as_ref();
            status.drift = summaries.and_then(|told| told.drift(&status.name)).cloned();
        }
        all
    }

    /// Where the API listens, while it does.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().and_then(Standing::running).map(Api::address)
    }

    /// Where it speaks gRPC, while it does.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().and_then(Standing::running).and_then(Api::grpc_address)
    }
}
