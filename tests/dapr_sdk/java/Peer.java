import com.google.protobuf.ByteString;
import com.google.protobuf.Empty;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprClientBuilder;
import io.dapr.client.domain.ComponentMetadata;
import io.dapr.client.domain.DaprMetadata;
import io.dapr.client.domain.InvokeBindingRequest;
import io.dapr.exceptions.DaprErrorDetails;
import io.dapr.exceptions.DaprException;
import io.dapr.utils.TypeRef;
import io.dapr.utils.Version;
import io.dapr.v1.AppCallbackGrpc;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventRequest;
import io.dapr.v1.DaprAppCallbackProtos.BindingEventResponse;
import io.dapr.v1.DaprAppCallbackProtos.ListInputBindingsResponse;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Supplier;

/**
 * An application of the Dapr SDK for Java: a client of the output "rmq", and the server of the input "rmq".
 *
 * <p>The SDK finds its side by DAPR_GRPC_ENDPOINT and DAPR_HTTP_ENDPOINT; APP_PORT is where the application listens, REPLIES the
 * output for its replies. Calls and messages are printed, a JSON object a line (tests/dapr_compatibility/sdk/program.rs says
 * when).
 */
public final class Peer extends AppCallbackGrpc.AppCallbackImplBase {
  private static final String REFUSED = "the observer gets an error the first time";
  private static final String REPLY = "the response has `data`, and `to` an output";
  private static final String NOWHERE = "the response has `data`, and `to` an output that is not there, the first time";
  /** Messages, and what their rows say. */
  private static final Map<String, String> MESSAGES = new LinkedHashMap<>();

  static {
    MESSAGES.put("{\"number\":1}", "the method gets an object as JSON");
    MESSAGES.put("\"text\"", "the method gets a String as JSON");
    MESSAGES.put("bytes", "the method gets bytes");
    MESSAGES.put("\"typed\"", "the method gets what is sent for a typed answer");
    MESSAGES.put("\"with a request\"", "the method gets what an InvokeBindingRequest has sent");
    MESSAGES.put("\"data alone\"", "the response has `data` alone");
    MESSAGES.put("\"nowhere\"", NOWHERE);
    MESSAGES.put("\"refused\"", REFUSED);
    MESSAGES.put("\"reply\"", REPLY);
  }

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

  private static String object(Map<String, String> shown) {
    List<String> pairs = new ArrayList<>();
    shown.forEach((name, value) -> pairs.add(quote(name) + ":" + quote(value)));
    return "{" + String.join(",", pairs) + "}";
  }

  private static synchronized void say(String kind, String json) {
    System.out.println("{" + quote(kind) + ":" + json + "}");
    System.out.flush();
  }

  /** Prints a row; `more` are its further members. */
  private static void row(String kind, String text, Map<String, String> shown, String... more) {
    StringBuilder row = new StringBuilder("{\"text\":" + quote(text) + ",\"seen\":" + object(shown));
    for (int at = 0; at < more.length; at += 2) {
      row.append(',').append(quote(more[at])).append(':');
      row.append(List.of("stores", "replies").contains(more[at]) ? more[at + 1] : quote(more[at + 1]));
    }
    say(kind, row.append('}').toString());
  }

  @Override
  public void listInputBindings(Empty request, StreamObserver<ListInputBindingsResponse> answer) {
    answer.onNext(ListInputBindingsResponse.newBuilder().addBindings("rmq").build());
    answer.onCompleted();
  }

  @Override
  public synchronized void onBindingEvent(BindingEventRequest request, StreamObserver<BindingEventResponse> answer) {
    String body = request.getData().toString(StandardCharsets.UTF_8);
    String words = MESSAGES.getOrDefault(body, body);
    boolean isFirst = seen.add(body);
    Map<String, String> shown = new TreeMap<>(Map.of("data", body));
    if (body.equals("{\"number\":1}")) {
      shown.put("name", request.getName());
      request.getMetadataMap().forEach((name, value) -> shown.put("metadata " + name, value));
    }
    String differs = body.equals("{\"number\":1}") ? "delivery" : words.equals(NOWHERE) ? "reply" : "";
    String replies = String.valueOf(words.equals(REPLY));
    row("received", "AppCallbackImplBase.onBindingEvent(request, observer)", shown, "words", words, "differs", differs, "replies", replies);
    if (words.equals(REFUSED) && isFirst) {
      answer.onError(Status.INTERNAL.withDescription("not yet").asRuntimeException());
      return;
    }
    BindingEventResponse.Builder response = BindingEventResponse.newBuilder();
    if (words.equals(REPLY)) {
      response.addTo(System.getenv("REPLIES")).setData(ByteString.copyFromUtf8("{\"reply\":1}"));
    } else if (words.equals(NOWHERE) && isFirst) {
      response.addTo("nowhere").setData(ByteString.copyFromUtf8("{\"lost\":1}"));
    } else if (body.equals("\"data alone\"")) {
      response.setData(ByteString.copyFromUtf8("{\"ignored\":1}"));
    }
    answer.onNext(response.build());
    answer.onCompleted();
  }

  private static Map<String, String> failure(DaprException error) {
    Map<String, String> shown = new TreeMap<>();
    shown.put("throws", error.getClass().getSimpleName());
    shown.put("code", error.getErrorCode());
    shown.put("message", error.getMessage());
    shown.put("httpStatusCode", String.valueOf(error.getHttpStatusCode()));
    DaprErrorDetails details = error.getErrorDetails();
    for (String name : List.of("reason", "domain")) {
      String value = details == null ? null : details.get(DaprErrorDetails.ErrorDetailType.ERROR_INFO, name, TypeRef.STRING);
      shown.put(name, value == null ? "" : value);
    }
    return shown;
  }

  private static void call(String text, Supplier<Map<String, String>> call, String... more) {
    Map<String, String> shown;
    try {
      shown = call.get();
    } catch (DaprException error) {
      shown = failure(error);
    }
    row("call", text, shown, more);
  }

  @SuppressWarnings("unchecked")
  private static Map<String, String> returned(Object value) {
    if (value instanceof byte[]) {
      return Map.of("returns", "byte[" + ((byte[]) value).length + "]");
    }
    if (value instanceof List) {
      return Map.of("returns", "a list of " + String.join(", ", new TreeSet<>(((List<Map<String, ?>>) value).get(0).keySet())));
    }
    return Map.of("returns", String.valueOf(value));
  }

  private static Map<String, String> known(DaprMetadata metadata) {
    List<String> components = new ArrayList<>();
    for (ComponentMetadata one : metadata.getComponents()) {
      String capabilities = String.join(" ", one.getCapabilities());
      components.add(String.join(" ", one.getName(), one.getType(), one.getVersion(), capabilities));
    }
    return Map.of(
        "id", metadata.getId(),
        "components", String.join(", ", components),
        "actors", String.valueOf(metadata.getActors().size()),
        "subscriptions", String.valueOf(metadata.getSubscriptions().size()));
  }

  private static void withTheClient(DaprClient client) {
    String create = "client.invokeBinding(\"rmq\", \"create\", ";
    call("client.waitForSidecar(30_000)", () -> returned(client.waitForSidecar(30_000).block()));
    call(create + "Map.of(\"number\", 1))", () -> returned(client.invokeBinding("rmq", "create", Map.of("number", 1)).block()),
        "stores", "true");
    call(create + "\"text\")", () -> returned(client.invokeBinding("rmq", "create", "text").block()), "stores", "true");
    byte[] bytes = "bytes".getBytes(StandardCharsets.UTF_8);
    Map<String, String> blue = Map.of("rocketmq-tag", "blue", "rocketmq-key", "k1");
    call(create + "bytes, Map.of(\"rocketmq-tag\", \"blue\", \"rocketmq-key\", \"k1\"))",
        () -> returned(client.invokeBinding("rmq", "create", bytes, blue).block()), "stores", "true", "differs", "tag");
    call(create + "\"typed\", String.class)", () -> returned(client.invokeBinding("rmq", "create", "typed", String.class).block()),
        "stores", "true");
    Map<String, String> topics = Map.of("rocketmq-topic", System.getenv("OTHER_TOPICS"));
    TypeRef<List<Map<String, Object>>> list = new TypeRef<>() {};
    String toBoth = create + "\"x\", Map.of(\"rocketmq-topic\", \"<other>,<another>\"), ";
    call(toBoth + "new TypeRef<List<…>>() {})", () -> returned(client.invokeBinding("rmq", "create", "x", topics, list).block()),
        "differs", "topics");
    call(toBoth + "List.class)", () -> returned(client.invokeBinding("rmq", "create", "x", topics, List.class).block()),
        "differs", "topics");
    InvokeBindingRequest request = new InvokeBindingRequest("rmq", "create").setData("with a request");
    call("client.invokeBinding(new InvokeBindingRequest(\"rmq\", \"create\").setData(…))",
        () -> returned(client.invokeBinding(request).block()), "stores", "true");
    InvokeBindingRequest toTopics = new InvokeBindingRequest("rmq", "create").setData("x").setMetadata(topics);
    call("client.invokeBinding(new InvokeBindingRequest(\"rmq\", \"create\").setMetadata(…), new TypeRef<List<…>>() {})",
        () -> returned(client.invokeBinding(toTopics, list).block()), "words", "with `rocketmq-topic` as above", "differs", "topics");
    call("client.invokeBinding(new InvokeBindingRequest(\"rmq\", \"create\"))",
        () -> returned(client.invokeBinding(new InvokeBindingRequest("rmq", "create")).block()), "differs", "empty");
    call("client.invokeBinding(\"nope\", \"create\", \"x\")", () -> returned(client.invokeBinding("nope", "create", "x").block()));
    call("client.invokeBinding(\"rmq\", \"list\", \"x\")", () -> returned(client.invokeBinding("rmq", "list", "x").block()));
    for (String body : List.of("data alone", "nowhere", "refused", "reply")) {
      call(create + quote(body) + ")", () -> returned(client.invokeBinding("rmq", "create", body).block()), "stores", "true");
    }
    DaprMetadata metadata = client.getMetadata().block();
    call("client.getMetadata()", () -> known(metadata));
    call("client.getMetadata().block().getRuntimeVersion()", () -> returned(metadata.getRuntimeVersion()), "differs", "version");
    call("client.getMetadata().block().getEnabledFeatures().isEmpty()", () -> returned(metadata.getEnabledFeatures().isEmpty()),
        "differs", "features");
    call("client.getState(\"store\", \"key\", String.class)",
        () -> returned(client.getState("store", "key", String.class).block()), "differs", "state");
  }

  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(System.getenv("APP_PORT"));
    NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port)).addService(new Peer()).build().start();
    while (System.in.read() != '\n') {
      continue;
    }
    try (DaprClient client = new DaprClientBuilder().build()) {
      call("import io.dapr.client.DaprClient", () -> Map.of("version", Version.getSdkVersion()));
      withTheClient(client);
      List<String> expected = new ArrayList<>();
      MESSAGES.forEach((body, words) -> expected.add("[" + quote(words) + "," + (words.equals(REFUSED) ? 2 : 1) + "]"));
      say("expects", "[" + String.join(",", expected) + "]");
      while (System.in.read() >= 0) {
        continue;
      }
      call("client.shutdown()", () -> returned(client.shutdown().block()), "differs", "shutdown");
    } catch (Exception error) {
      say("failed", quote(error.toString()));
    }
    System.exit(0);
  }
}
