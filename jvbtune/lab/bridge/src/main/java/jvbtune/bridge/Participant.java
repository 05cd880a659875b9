package jvbtune.bridge;

import java.util.Set;

/** Who sends media in a conference: an endpoint of this bridge, or one behind a relay (AbstractEndpoint.kt). */
interface Participant {
    String id();

    /** The SSRCs that were signalled for it. */
    Set<Long> sources();

    SentVideo sent();
}
