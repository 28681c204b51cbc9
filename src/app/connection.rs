//! A broker connection with the routes of its messages.

use std::time::Duration;

use crate::event::{Device, Name};
use crate::ingest::{Route, Router};
use crate::mqtt::{ConnectionConfig, Link, LinkState, MqttError, QoS};
use crate::task::Group;

/// One `[mqtt.NAME]` while it runs.
#[derive(Debug)]
pub(super) struct Connection {
    link: Link,
    router: Router,
    group: Group,
}

impl Connection {
    /// Starts to connect, its messages going where `routes` say.
    pub(super) fn start(
        name: &Name,
        device: &Device,
        config: &ConnectionConfig,
        routes: Vec<(Route, QoS)>,
    ) -> Result<Self, MqttError> {
        let router = Router::new();
        router.set(routes.iter().map(|(route, _)| route.clone()).collect());
        let mut group = Group::default();
        let handler = router.handler();
        let link = Link::start(name.as_str(), device.id.as_str(), config, handler, &mut group)?;
        let connection = Self { link, router, group };
        connection.route(routes);
        Ok(connection)
    }

    /// Where messages go from now on, and what is subscribed to.
    pub(super) fn route(&self, routes: Vec<(Route, QoS)>) {
        let (routes, qos): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
        let filters: Vec<_> = routes.iter().map(|route| route.filter.clone()).zip(qos).collect();
        // The table first: a message must find its route when the subscription brings it.
        self.router.set(routes);
        self.link.set_subscriptions(filters);
    }

    /// Messages that come now stay with the broker.
    pub(super) fn close_intake(&self) {
        self.router.close();
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits until the broker has answered and granted, or refused, every subscription.
    pub(super) async fn ready(&self) {
        self.link.ready().await;
    }

    /// Resolves when its task gets round to it, connected or not; false: it is gone.
    pub(super) async fn answers(&self) -> bool {
        self.link.answers().await
    }

    /// Why messages do not flow.
    pub(super) fn problem(&self) -> Option<String> {
        match &*self.link.state().borrow() {
            LinkState::Connecting { last_error, .. } => {
                Some(last_error.as_deref().unwrap_or("connecting").to_owned())
            }
            LinkState::Up { refused, .. } if !refused.is_empty() => {
                let refused: Vec<_> = refused
                    .iter()
                    .map(|r| format!("{} ({})", r.filter.as_str(), r.reason))
                    .collect();
                Some(format!("the broker refused {}", refused.join(", ")))
            }
            LinkState::Up { .. } | LinkState::Stopped => None,
        }
    }

    pub(super) async fn stop(self, deadline: Duration) {
        self.router.close();
        self.group.drain(deadline).await;
    }
}
