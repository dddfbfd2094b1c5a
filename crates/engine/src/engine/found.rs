//! What a look at one subject found, as the facts of a decision.

use jiff::Timestamp;

use crate::decide::{GuestFacts, ServiceFacts};
use crate::observe::{GuestReview, Review, Seen, ServiceName, ServiceReview};

/// When the oldest part of it was asked for.
pub(super) fn as_of(review: &Review) -> Option<Timestamp> {
    match review {
        Review::Guest(GuestReview { config, current, tasks }) => {
            config.asked_at().into_iter().chain(current.asked_at()).chain(tasks.asked_at()).min()
        }
        // Its state may be some seconds older than the tasks, which say who touched it meanwhile.
        Review::Service(ServiceReview { tasks, .. }) => tasks.asked_at(),
    }
}

/// What of a look was not answered.
pub(super) fn missing(review: &Review) -> Option<Box<str>> {
    fn of<T>(part: &Seen<T>) -> Option<Box<str>> {
        match part {
            Seen::At { .. } => None,
            Seen::NotReached(why) => Some(why.words.as_str().into()),
            Seen::NotAsked => Some("it was not asked".into()),
        }
    }
    match review {
        Review::Guest(GuestReview { config, current, tasks }) => {
            of(config).or_else(|| of(current)).or_else(|| of(tasks))
        }
        Review::Service(ServiceReview { services, tasks }) => of(services).or_else(|| of(tasks)),
    }
}

pub(super) fn facts<'a>(
    review: &'a Review,
    fresh: bool,
    own: &'a [Box<str>],
    cause_stands: Option<&'a str>,
) -> Option<GuestFacts<'a>> {
    let Review::Guest(review) = review else { return None };
    let (config, current) = (review.config.value()?.as_ref(), review.current.value()?.as_ref());
    Some(GuestFacts {
        fresh,
        onboot: config.is_some_and(|config| config.onboot),
        template: config.is_some_and(|config| config.template),
        lock: config
            .and_then(|config| config.lock.as_deref())
            .or_else(|| current.and_then(|current| current.lock.as_deref())),
        ha: current.and_then(|current| current.ha.as_deref()),
        tags: config.map_or(&[], |config| &config.tags),
        state: config.and(current).map(|current| current.status.as_str()),
        tasks: review.tasks.value()?,
        own,
        cause_stands,
    })
}

pub(super) fn service_facts<'a>(
    review: &'a Review,
    name: &ServiceName,
    fresh: bool,
    own: &'a [Box<str>],
) -> Option<ServiceFacts<'a>> {
    let Review::Service(ServiceReview { services, tasks }) = review else { return None };
    let found = services.value()?.iter().find(|service| service.name == *name);
    // Whoever disabled it since does not want it to run, whatever it does.
    let active = found.map(|service| if service.enabled { &*service.active } else { "disabled" });
    Some(ServiceFacts { fresh, active, tasks: tasks.value()?, own })
}
