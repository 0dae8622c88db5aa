package norn;

import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicBoolean;
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
 *   member BOOTSTRAP TOPIC GROUP HEARTBEAT_MS              reads as a member of GROUP and prints "partition offset key value header"
 *   describe BOOTSTRAP TOPIC
 * </pre>
 */
public final class Roundtrip {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "create" -> create(args[1], args[2], Integer.parseInt(args[3]));
            case "produce" -> produce(args[1], args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]), args[5]);
            case "member" -> member(args[1], args[2], args[3], Integer.parseInt(args[4]));
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

    /** Reads, prints and commits until standard input ends; then leaves the group. */
    static void member(String bootstrap, String topic, String group, int heartbeatMs) throws Exception {
        Map<String, Object> config = Map.of(
            ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap, ConsumerConfig.GROUP_ID_CONFIG, group,
            ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest", ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false,
            ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, heartbeatMs, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 500);
        var leaving = new AtomicBoolean();
        var watch = new Thread(() -> {
            try { while (System.in.read() >= 0) { } } catch (java.io.IOException gone) { }
            leaving.set(true);
        });
        watch.setDaemon(true);
        watch.start();
        var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        try {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsRevoked(Collection<TopicPartition> revoked) { consumer.commitSync(); }
                public void onPartitionsAssigned(Collection<TopicPartition> assigned) {}
            });
            while (!leaving.get()) {
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100)))
                    System.out.println(r.partition() + " " + r.offset() + " " + r.key() + " " + r.value() + " "
                        + new String(r.headers().lastHeader("h").value()));
                System.out.flush();
            }
            consumer.commitSync();
        } finally {
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)));
        }
    }
}
