// Package argocd runs the scripts of config/argocd as Argo CD does, and the same objects through kstatus.
package argocd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

const scripts = "../../config/argocd/"

type testCase struct {
	Name    string         `json:"name"`
	Health  string         `json:"health"`
	Message string         `json:"message"`
	Kstatus string         `json:"kstatus"`
	Object  map[string]any `json:"object"`
}

func cases(t *testing.T) []testCase {
	t.Helper()
	text, err := os.ReadFile("cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []testCase
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// run evaluates a script with the object as the global `obj` and returns what it returns. As in Argo CD, there are the
// libraries base, table, string and math, and an `os` with nothing but the time.
func run(t *testing.T, script string, object map[string]any) lua.LValue {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	libraries := map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
		lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
	}
	for _, name := range []string{lua.LoadLibName, lua.BaseLibName, lua.TabLibName, lua.StringLibName, lua.MathLibName} {
		state.Push(state.NewFunction(libraries[name]))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.PreloadModule("os", func(state *lua.LState) int {
		safe := state.SetFuncs(state.NewTable(), map[string]lua.LGFunction{
			"date": func(state *lua.LState) int { state.Push(lua.LString("2026-11-24T12:00:00Z")); return 1 },
		})
		state.Push(safe)
		return 1
	})
	state.SetGlobal("obj", toLua(state, object))
	text, err := os.ReadFile(filepath.Join(scripts, script))
	if err != nil {
		t.Fatal(err)
	}
	if err := state.DoString(string(text)); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return state.Get(-1)
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, item := range value {
			table.RawSetString(name, toLua(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	}
	return lua.LNil
}

func text(value lua.LValue, path ...string) string {
	for _, name := range path {
		table, ok := value.(*lua.LTable)
		if !ok {
			return ""
		}
		value = table.RawGetString(name)
	}
	return lua.LVAsString(value)
}

func TestHealth(t *testing.T) {
	for _, one := range cases(t) {
		found := run(t, "health.lua", one.Object)
		if got := text(found, "status"); got != one.Health {
			t.Errorf("%s: health is %q, should be %q", one.Name, got, one.Health)
		}
		if got := text(found, "message"); !strings.Contains(got, one.Message) {
			t.Errorf("%s: message is %q, should have %q", one.Name, got, one.Message)
		}
	}
}

func TestKstatus(t *testing.T) {
	for _, one := range cases(t) {
		found, err := status.Compute(&unstructured.Unstructured{Object: integers(one.Object).(map[string]any)})
		if err != nil {
			t.Errorf("%s: %v", one.Name, err)
		} else if string(found.Status) != one.Kstatus {
			t.Errorf("%s: kstatus is %s (%s), should be %s", one.Name, found.Status, found.Message, one.Kstatus)
		}
	}
}

// integers makes of JSON's numbers what the API machinery has.
func integers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, item := range value {
			value[name] = integers(item)
		}
	case []any:
		for index, item := range value {
			value[index] = integers(item)
		}
	case float64:
		return int64(value)
	}
	return value
}

func object(kind, state string) map[string]any {
	spec := map[string]any{}
	if state != "" {
		spec["state"] = state
	}
	return map[string]any{"kind": kind, "metadata": map[string]any{"name": "main"}, "spec": spec}
}

func TestActionsAreOffered(t *testing.T) {
	for _, one := range []struct{ kind, state, action, disabled string }{
		{"RocketMQConnection", "", "test", "false"}, {"RocketMQConnection", "Paused", "test", "true"},
		{"RocketMQConnection", "Running", "load-models", "false"}, {"RocketMQBinding", "Running", "test", ""},
		{"RocketMQBinding", "Running", "pause", "false"}, {"RocketMQSync", "Stopped", "resume", "false"},
		{"RocketMQSync", "", "resume", "true"},
	} {
		found := run(t, "actions/discovery.lua", object(one.kind, one.state)).(*lua.LTable)
		offered, isOffered := found.RawGetString(one.action).(*lua.LTable)
		got := ""
		if isOffered {
			got = offered.RawGetString("disabled").String()
		}
		if got != one.disabled {
			t.Errorf("%s %q: disabled of %s is %q, should be %q", one.kind, one.state, one.action, got, one.disabled)
		}
	}
}

func TestActionsChangeTheObject(t *testing.T) {
	for action, path := range map[string][]string{
		"pause": {"spec", "state", "Paused"}, "resume": {"spec", "state", "Running"},
		"test":        {"metadata", "annotations", "connector.rocketmq.dev/test", "2026-11-24T12:00:00Z"},
		"load-models": {"metadata", "annotations", "connector.rocketmq.dev/load-models", "2026-11-24T12:00:00Z"},
	} {
		changed := run(t, "actions/"+action+".lua", object("RocketMQConnection", "Running"))
		last := len(path) - 1
		if got := text(changed, path[:last]...); got != path[last] {
			t.Errorf("%s: %v is %q, should be %q", action, path[:last], got, path[last])
		}
	}
}

// The scripts are what argocd-cm.yaml holds.
func TestSettingsAreWritten(t *testing.T) {
	rendered, err := exec.Command("python3", filepath.Join(scripts, "render.py")).Output()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(filepath.Join(scripts, "argocd-cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if string(rendered) != string(stored) {
		t.Error("config/argocd/argocd-cm.yaml is old; write it with config/argocd/render.py")
	}
	var settings struct{ Data map[string]string }
	if err := yaml.Unmarshal(stored, &settings); err != nil {
		t.Fatal(err)
	}
	if len(settings.Data) != 6 {
		t.Errorf("%d settings", len(settings.Data))
	}
	for name, value := range settings.Data {
		if !strings.Contains(name, ".actions.") {
			continue
		}
		var actions struct {
			Discovery   string           `json:"discovery.lua"`
			Definitions []map[string]any `json:"definitions"`
		}
		if err := yaml.UnmarshalStrict([]byte(value), &actions); err != nil || actions.Discovery == "" || len(actions.Definitions) < 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
