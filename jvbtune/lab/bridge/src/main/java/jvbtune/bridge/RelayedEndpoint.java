package jvbtune.bridge;

import java.util.Set;

/** A participant on another bridge (RelayedEndpoint.kt). */
record RelayedEndpoint(String id, Set<Long> sources, SentVideo sent) implements Participant {}
