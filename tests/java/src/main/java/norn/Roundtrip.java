package norn;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/**
 * The official Java client as the black-box tests drive it; one verb a call, JSON-free lines on standard output.
 * <pre>
 *   create BOOTSTRAP TOPIC PARTITIONS
 *   produce BOOTSTRAP TOPIC FIRST COUNT COMPRESSION        values are numbers, key = value mod 100, one header
 *   consume BOOTSTRAP TOPIC GROUP COUNT MEMBERS            a group of MEMBERS reads COUNT records, commits, prints "partition offset key value header"
 *   describe BOOTSTRAP TOPIC
 * </pre>
 */
public final class Roundtrip {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "create" -> create(args[1], args[2], Integer.parseInt(args[3]));
            case "produce" -> produce(args[1], args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]), args[5]);
            case "consume" -> consume(args[1], args[2], args[3], Integer.parseInt(args[4]), Integer.parseInt(args[5]));
            case "describe" -> describe(args[1], args[2]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static Admin admin(String bootstrap) {
        return Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap));
    }

    static void create(String bootstrap, String topic, int partitions) throws Exception {
        try (Admin admin = admin(bootstrap)) {
            admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), Optional.empty()))).all().get();
            System.out.println("created " + topic);
        }
    }

    static void describe(String bootstrap, String topic) throws Exception {
        try (Admin admin = admin(bootstrap)) {
            var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
            System.out.println(found.name() + " " + found.partitions().size() + " " + found.topicId());
            System.out.println("cluster " + admin.describeCluster().clusterId().get() + " nodes " + admin.describeCluster().nodes().get().size());
        }
    }

    static void produce(String bootstrap, String topic, int first, int count, String compression) throws Exception {
        Map<String, Object> config = Map.of(
            ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap, ProducerConfig.COMPRESSION_TYPE_CONFIG, compression,
            ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true, ProducerConfig.ACKS_CONFIG, "all", ProducerConfig.LINGER_MS_CONFIG, 5);
        var failed = new AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int n = first; n < first + count; n++) {
                var record = new ProducerRecord<>(topic, null, Integer.toString(n % 100), Integer.toString(n),
                    List.of(new RecordHeader("h", Integer.toString(n).getBytes())));
                producer.send(record, (metadata, error) -> { if (error != null) failed.compareAndSet(null, error); });
            }
            producer.flush();
        }
        if (failed.get() != null) throw failed.get();
        System.out.println("produced " + count);
    }

    static void consume(String bootstrap, String topic, String group, int count, int members) throws Exception {
        Map<String, Object> config = Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap, ConsumerConfig.GROUP_ID_CONFIG, group,
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest", ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
            ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 500);
        var consumers = new ArrayList<KafkaConsumer<String, String>>();
        var out = new StringBuilder();
        int read = 0;
        long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
        try {
            while (read < count) {
                if (System.nanoTime() > end) throw new IllegalStateException("read only " + read + " of " + count + " in 60 s");
                // The second member joins once the first has read something: a rebalance in the middle.
                if (consumers.isEmpty() || (consumers.size() < members && read > 0)) {
                    var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
                    consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                        public void onPartitionsRevoked(Collection<TopicPartition> revoked) { consumer.commitSync(); }
                        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {}
                    });
                    consumers.add(consumer);
                }
                for (var consumer : consumers) {
                    for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) {
                        out.append(r.partition()).append(' ').append(r.offset()).append(' ').append(r.key()).append(' ').append(r.value())
                            .append(' ').append(new String(r.headers().lastHeader("h").value())).append('\n');
                        read++;
                    }
                }
            }
            for (var consumer : consumers) consumer.commitSync();
        } finally {
            for (var consumer : consumers) consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)));
        }
        System.out.print(out);
    }
}
