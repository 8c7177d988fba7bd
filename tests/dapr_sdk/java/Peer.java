import com.google.protobuf.ByteString;
import com.google.protobuf.Empty;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprClientBuilder;
import io.dapr.client.domain.InvokeBindingRequest;
import io.dapr.exceptions.DaprException;
import io.dapr.v1.AppCallbackGrpc;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.ListInputBindingsResponse;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * An application of the Dapr SDK for Java: it publishes to the binding "rmq" and receives what comes back.
 *
 * <p>The SDK finds the worker by DAPR_GRPC_ENDPOINT and DAPR_HTTP_ENDPOINT; APP_PORT is where the application listens. What
 * it sees is printed, a JSON object a line; it ends when its standard input does.
 */
public final class Peer extends AppCallbackGrpc.AppCallbackImplBase {
  private final Set<String> seen = new HashSet<>();

  private static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char character : text.toCharArray()) {
      if (character == '"' || character == '\\' || character < ' ') {
        quoted.append(String.format("\\u%04x", (int) character));
      } else {
        quoted.append(character);
      }
    }
    return quoted.append('"').toString();
  }

  private static synchronized void say(String call, String... pairs) {
    StringBuilder line = new StringBuilder("{\"call\":" + quote(call));
    for (int at = 0; at < pairs.length; at += 2) {
      line.append(',').append(quote(pairs[at])).append(':').append(quote(pairs[at + 1]));
    }
    System.out.println(line.append('}'));
    System.out.flush();
  }

  @Override
  public void listInputBindings(Empty request, StreamObserver<ListInputBindingsResponse> answer) {
    answer.onNext(ListInputBindingsResponse.newBuilder().addBindings("rmq").build());
    answer.onCompleted();
  }

  @Override
  public synchronized void onBindingEvent(BindingEventRequest request, StreamObserver<BindingEventResponse> answer) {
    String body = request.getData().toString(StandardCharsets.UTF_8);
    Map<String, String> metadata = request.getMetadataMap();
    say("received", "body", body, "id", metadata.getOrDefault("rocketmq-message-id", ""),
        "group", metadata.getOrDefault("rocketmq-consumerGroup", ""));
    if (body.contains("again") && seen.add(body)) {
      answer.onError(Status.INTERNAL.withDescription("not yet").asRuntimeException());
      return;
    }
    // What daprd does with `to` and `data`: it is published by the output binding of that name.
    BindingEventResponse.Builder response = BindingEventResponse.newBuilder();
    if (body.contains("reply to this")) {
      response.addTo("rmq").setData(ByteString.copyFromUtf8("\"the reply\""));
    }
    answer.onNext(response.build());
    answer.onCompleted();
  }

  private static void publish() throws Exception {
    try (DaprClient client = new DaprClientBuilder().build()) {
      client.waitForSidecar(30_000).block();
      client.invokeBinding("rmq", "create", Map.of("number", 1)).block();
      client.invokeBinding("rmq", "create", "again").block();
      byte[] bytes = "reply to this".getBytes(StandardCharsets.UTF_8);
      InvokeBindingRequest request = new InvokeBindingRequest("rmq", "create").setData(bytes);
      client.invokeBinding(request).block();
      try {
        client.invokeBinding("nope", "create", "x").block();
      } catch (DaprException error) {
        say("unknown", "code", error.getErrorCode(), "message", error.getMessage());
      }
      say("metadata", "id", client.getMetadata().block().getId());
    }
  }

  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(System.getenv("APP_PORT"));
    NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port)).addService(new Peer()).build().start();
    try {
      publish();
    } catch (Exception error) {
      say("failed", "error", error.toString());
    }
    while (System.in.read() >= 0) {
      continue;
    }
    System.exit(0);
  }
}
