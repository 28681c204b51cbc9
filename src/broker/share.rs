//! Shared subscriptions: who of a group gets the next message.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::subscribe::SharedSubscription;
use rmqtt::types::{
    ClientId, Id, IsOnline, NodeId, SharedGroup, SubscriptionIdentifier, SubscriptionOptions,
    TopicName,
};

/// In turn, those who are away only when nobody is there.
#[derive(Debug, Default)]
pub(super) struct InTurn(AtomicUsize);

#[async_trait]
impl SharedSubscription for InTurn {
    fn is_supported(&self) -> bool {
        true
    }

    async fn choice(
        &self,
        context: &ServerContext,
        _group: &SharedGroup,
        _publisher: &Id,
        _topic: &TopicName,
        members: &[(
            NodeId,
            ClientId,
            SubscriptionOptions,
            Option<Vec<SubscriptionIdentifier>>,
            Option<IsOnline>,
        )],
    ) -> Option<(usize, IsOnline)> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.rotate_left(turn.checked_rem(members.len())?);
        for &index in &order {
            let (node, client, _, _, online) = members.get(index)?;
            let online = match online {
                Some(online) => *online,
                None => context.extends.router().await.is_online(*node, client).await,
            };
            if online {
                return Some((index, true));
            }
        }
        order.first().map(|index| (*index, false))
    }
}
