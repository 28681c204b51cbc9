//! The first and the last words on a connection.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::connection::{Connection, write};
use super::super::wire::{Connect, Outgoing};
use super::super::{Publish, QoS};
use super::{Driver, Ended};

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);

impl Driver {
    /// Who we are, and what the broker says of us should we vanish.
    pub(super) fn connect_packet(&self) -> Result<Connect, String> {
        let password = self.config.password()?.unwrap_or_default();
        Ok(Connect {
            client_id: self.client_id.clone(),
            login: self.config.username.clone().map(|user| (user, password)),
            clean: self.config.clean_start,
            keep_alive: u16::try_from(self.config.keep_alive.as_secs()).unwrap_or(u16::MAX),
            session_expiry: u32::try_from(self.config.session_expiry.as_secs()).unwrap_or(u32::MAX),
            receive_maximum: self.config.receive_maximum.max(1),
            max_packet: self.config.max_packet,
            will: self.status_topic.clone().map(|topic| (topic, b"offline".as_slice())),
        })
    }

    /// The retained status message, without its word.
    pub(super) fn status(&self) -> Option<Publish> {
        let topic = self.status_topic.clone()?;
        Some(Publish { topic, qos: QoS::AtLeastOnce, retain: true, ..Publish::default() })
    }

    /// Says goodbye, so that the broker does not publish the last will: acknowledges what is settled,
    /// announces `offline`, disconnects.
    pub(super) async fn farewell(&mut self, connection: &mut Connection) {
        let offline = self.status().map(|p| Publish { qos: QoS::AtMostOnce, ..p });
        let words = async {
            self.put_out(connection)?;
            if let Some(publish) = &offline {
                let payload = &Bytes::from_static(b"offline");
                let packet = Outgoing::Publish { packet: 0, dup: false, publish, payload };
                self.write(connection, &packet)?;
            }
            self.write(connection, &Outgoing::Disconnect)?;
            write(&mut connection.writer, &mut connection.outgoing, &mut connection.dirty).await?;
            connection.writer.shutdown().await?;
            // A socket that is closed with something unread takes back what was written last.
            while connection.reader.read_buf(&mut connection.incoming).await? > 0 {
                connection.incoming.clear();
            }
            Ok::<(), Ended>(())
        };
        if !matches!(timeout(FAREWELL, words).await, Ok(Ok(()))) {
            tracing::debug!(link = self.name, "the broker did not hear the farewell");
        }
    }
}
