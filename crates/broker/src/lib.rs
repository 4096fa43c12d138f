//! Streams, subscriptions, delivery, replay, credit and acks: one worker's state and its turn.
