//! Where a message was published, and what was made of topics that came before.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The topic of a message; its levels are what templates and rules read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Any text; nothing is checked here, a broker has seen to it.
    pub fn new(topic: &str) -> Self {
        Self(topic.into())
    }

    /// The whole topic.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The level at `index` (from 0), as `{topic.N}` in a template names it.
    pub fn level(&self, index: usize) -> Option<&str> {
        self.0.split('/').nth(index)
    }

    /// All levels in order.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So many topics are remembered.
const MOST: usize = 1024;

/// None that is longer, in bytes.
const LONGEST: usize = 256;

/// What was made of topics, so that it is made once: most messages come on few. Holds at most 1024 topics of at most
/// 256 bytes; when that is not enough, all are forgotten.
#[derive(Debug, Clone)]
pub struct Topics<T>(HashMap<Topic, T>);

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Topics<T> {
    /// What was made of this topic, or what is made now.
    pub fn get<E>(
        &mut self,
        topic: &str,
        make: impl FnOnce(&Topic) -> Result<T, E>,
    ) -> Result<(Topic, T), E> {
        if let Some((topic, made)) = self.0.get_key_value(topic) {
            return Ok((topic.clone(), made.clone()));
        }
        let topic = Topic::new(topic);
        let made = make(&topic)?;
        if topic.as_str().len() <= LONGEST {
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(topic.clone(), made.clone());
        }
        Ok((topic, made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_looked_at_once_and_no_more_are_kept_than_are_allowed() {
        let mut topics = Topics::default();
        let mut made = 0;
        let mut get = |topic: &str| {
            let make = |topic: &Topic| -> Result<usize, ()> {
                made += 1;
                Ok(topic.as_str().len())
            };
            topics.get(topic, make)
        };
        assert_eq!(get("a/b"), Ok((Topic::new("a/b"), 3)));
        assert_eq!(get("a/b"), Ok((Topic::new("a/b"), 3)));
        for number in 1..MOST {
            assert!(get(&number.to_string()).is_ok());
        }
        assert!(get("a/b").is_ok() && get("one more").is_ok());
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(
            (get(&long), get(&long)),
            (Ok((Topic::new(&long), 257)), Ok((Topic::new(&long), 257)))
        );
        assert_eq!(made, MOST + 1 + 2);
        assert_eq!(topics.0.len(), 1);
    }

    #[test]
    fn what_could_not_be_made_is_tried_again() {
        let mut topics = Topics::default();
        assert_eq!(topics.get("a", |_| Err::<u8, _>("no")), Err("no"));
        assert_eq!(topics.get("a", |_| Ok::<_, &str>(1)), Ok((Topic::new("a"), 1)));
    }
}
