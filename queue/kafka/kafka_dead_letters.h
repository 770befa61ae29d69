// queue/kafka/kafka_dead_letters.h - the dead letters of a Kafka deployment: the topic `<prefix>-dlq`, read from its
// beginning to its end by a client that joins no group and commits nothing.
//
// A topic gives nothing back, so what becomes of a letter is a record behind it, its *marker*: the letter's key, no
// value, and the header postbus-letter, `replayed partition/offset` or `discarded partition/offset`. A letter with a
// marker is not seen any more. Its marker is younger than it, so the topic's retention removes the letter first.
//
// A replay is the status record, the event's record, and the marker, each acknowledged before the next: where the
// process dies before the marker the letter is still there, and replaying it again may send the mail again.
#pragma once

#include "queue/dead_letters.h"

namespace postbus::kafka {

Result<std::unique_ptr<DeadLetters>> OpenKafkaDeadLetters(const KafkaConfig& config, QueueLog log);

}  // namespace postbus::kafka
