#!/usr/bin/env bash
# Checks the running cluster from end to end; the last line is 'N passed, N failed'.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
export KUBECONFIG=$CLUSTER_KUBECONFIG
cd "$CLUSTER_SCRIPTS/kubernetes/smoke" || exit 1
passed=0 failed=0

check() { # NAME EXPECTED-PATTERN COMMAND...
  local name=$1 pattern=$2 output began=$EPOCHREALTIME
  shift 2
  output=$("$@" 2>&1)
  if grep -qE -- "$pattern" <<< "$output"; then
    passed=$((passed + 1))
    printf 'ok   %-48s %.1fs\n' "$name" "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
  else
    failed=$((failed + 1))
    printf 'FAIL %s: %s\n' "$name" "$(head -c 600 <<< "$output")"
  fi
}
k() { kubectl -n smoke "$@"; }
filled() { sed -e "s|@PROBE_IMAGE@|$PROBE_IMAGE|" -e "s|@TOOLBOX_IMAGE@|$IMAGE_PREFIX/toolbox:1|" "$1"; }
apply_filled() { filled "$1" | kubectl apply -f -; }
widget() { # MIN MAX MODE
  printf 'apiVersion: smoke.rocketmq.dev/v1\nkind: Widget\nmetadata: {name: w, namespace: smoke}\nspec: {min: %s, max: %s, mode: %s}\n' "$1" "$2" "$3" | kubectl apply -f -
}
through_service() { for _ in 1 2 3 4 5 6; do k exec "$pod" -- /probe get http://web/ || return; done; }
copy_into_pod() { k exec -i box -- sh -c 'cat > /data/f' < /etc/passwd; k exec box -- head -1 /data/f; }
forward_port() {
  kubectl -n smoke port-forward "pod/$pod" 18080:8080 > /dev/null 2>&1 &
  local forwarder=$!
  sleep 2
  curl -sm5 http://127.0.0.1:18080/
  kill $forwarder
  wait $forwarder 2>/dev/null
}
memory_limit() {
  local name
  name=kubepods/burstable/pod$(k get pod "$pod" -o jsonpath='{.metadata.uid}')
  cat "/sys/fs/cgroup/memory/$name/memory.limit_in_bytes" 2>/dev/null || cat "/sys/fs/cgroup/$name/memory.max"
}
roll() { k set env deployment/web X=1 > /dev/null && k rollout status deployment/web --timeout=120s; }
kill_container() {
  local newest container
  newest=$(k get pod -l app=web --sort-by=.metadata.creationTimestamp -o jsonpath='{.items[-1:].metadata.name}')
  container=$(k get pod "$newest" -o jsonpath='{.status.containerStatuses[0].containerID}')
  ctr -a "$SOCKETS/containerd.sock" -n k8s.io tasks kill -s SIGKILL "${container#containerd://}"
  for _ in $(seq 120); do
    [ "$(k get pod "$newest" -o jsonpath='{.status.containerStatuses[0].restartCount}{.status.containerStatuses[0].ready}')" = 1true ] && { echo restarted; return; }
    sleep 0.5
  done
}

k delete namespace smoke --ignore-not-found > /dev/null 2>&1
kubectl create namespace smoke > /dev/null
kubectl label namespace smoke smoke=1 pod-security.kubernetes.io/enforce=restricted > /dev/null
check "API server ready" '^ok' kubectl get --raw /readyz
check "CRD" 'customresourcedefinition' kubectl apply -f crd.yaml
kubectl wait --for=condition=Established crd/widgets.smoke.rocketmq.dev --timeout=30s > /dev/null
sleep 1
check "resource accepted" 'widget.smoke.rocketmq.dev/w created' widget 1 2 a
check "resource refused by a CEL rule" 'min must not exceed max' widget 3 2 a
check "resource refused by a CEL transition rule" 'mode is immutable' widget 1 2 b
check "admission policy" 'no-latest' kubectl apply -f policy.yaml
sleep 2
check "admission policy denies :latest" 'no :latest' k create deployment bad --image=x:latest
check "restricted pod security denies privileged" 'violates PodSecurity' k run p --image=x --privileged
check "application applied" 'pod/box created' apply_filled app.yaml
check "deployment available" 'condition met' k wait --for=condition=Available deployment/web --timeout=120s
check "pod Ready" 'condition met' k wait --for=condition=Ready pod/box --timeout=90s
check "rollout status" 'successfully rolled out' k rollout status deployment/web --timeout=90s
pod=$(k get pod -l app=web -o jsonpath='{.items[0].metadata.name}')
pod_address=$(k get pod "$pod" -o jsonpath='{.status.podIP}')
service_address=$(k get service web -o jsonpath='{.spec.clusterIP}')
check "logs" 'listening on :8080 secret true' k logs "$pod"
check "exec" '^uid=1000' k exec box -- id
check "exec writes to an emptyDir" 'hi' k exec box -- sh -c 'echo hi > /data/x && cat /data/x'
check "host to pod" 'hello from' curl -sm5 "http://$pod_address:8080/"
check "host to service" 'hello from' curl -sm5 "http://$service_address/"
check "host to node port" 'hello from' curl -sm5 "http://$NODE_ADDRESS:30080/"
check "pod to service" 'hello from' k exec box -- probe get "http://$service_address/"
check "pod to service by full DNS name" 'hello from' k exec box -- probe get http://web.smoke.svc.cluster.local/
check "pod to service by short DNS name" 'hello from' k exec box -- probe get http://web/
check "pod to itself through its service" 'hello from' through_service
check "environment from a Secret" 'DEMO_SECRET=s3cret' curl -sm5 "http://$pod_address:8080/env"
check "pod token to the API server by address" "200 OK via $API_SERVICE_ADDRESS" curl -sm9 "http://$pod_address:8080/api"
check "pod token to the API server by DNS name" '200 OK via kubernetes' curl -sm9 "http://$pod_address:8080/api?host=kubernetes.default.svc"
check "default service account is refused" 'forbidden' kubectl get --raw /api/v1/namespaces/smoke/pods --as=system:serviceaccount:smoke:default
check "copy into a pod" 'root:x' copy_into_pod
check "port-forward" 'hello from' forward_port
check "memory limit in the cgroup" '^67108864' memory_limit
check "rolling update" 'successfully rolled out' roll
check "killed container is restarted" 'restarted' kill_container
check "no metrics-server" 'Metrics API not available' kubectl top nodes
check "kubelet statistics" 'memory' kubectl get --raw "/api/v1/nodes/$NODE_NAME/proxy/stats/summary"
check "helm version" 'v[34]\.' helm version --short
check "helm template" 'kind: Deployment' helm template tiny chart --set "image=$PROBE_IMAGE"
kubectl create namespace smoke-helm --dry-run=client -o yaml | kubectl apply -f - > /dev/null
check "helm install" 'STATUS: deployed' helm install tiny chart -n smoke-helm --set "image=$PROBE_IMAGE" --wait --timeout 90s
check "helm upgrade" 'STATUS: deployed' helm upgrade tiny chart -n smoke-helm --set "image=$PROBE_IMAGE" --set replicas=2 --wait --timeout 90s
check "helm rollback" 'success' helm rollback tiny 1 -n smoke-helm
check "helm uninstall" 'uninstalled' helm uninstall tiny -n smoke-helm
check "namespace deletion finishes" 'deleted' kubectl delete namespace smoke smoke-helm --timeout=120s
kubectl delete crd widgets.smoke.rocketmq.dev > /dev/null
kubectl delete -f policy.yaml > /dev/null
echo "$passed passed, $failed failed"
[ $failed = 0 ]
