package main

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/weir-io/weir/node"
)

// served returns the settings that a command line of serve comes to.
func served(t *testing.T, args ...string) (node.Config, error) {
	t.Helper()
	var c cli
	file := &settingsFile{}
	parser, err := kong.New(&c, kong.Writers(io.Discard, io.Discard), kong.Vars{"version": ""},
		kong.Bind(&streams{}, file), kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"serve"}, args...)); err != nil {
		return node.Config{}, file.locate(err)
	}
	return c.Serve.config(), nil
}

func TestDefaultsAreTheNodes(t *testing.T) {
	got, err := served(t)
	if err != nil {
		t.Fatal(err)
	}
	if got.SeedDocument != sample {
		t.Error("a plain serve has no sample policies")
	}
	got.SeedDocument = ""
	if want := node.Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Every setting of the file that the node knows is a flag, and the other way round.
func TestThreeSpellings(t *testing.T) {
	var c cli
	parser, err := kong.New(&c, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{} // by name, the environment's spelling
	for _, n := range parser.Model.Children {
		if n.Name == "serve" {
			for _, f := range n.Flags {
				flags[f.Name] = strings.Join(f.Envs, " ")
			}
		}
	}
	delete(flags, "config")
	cfg := reflect.TypeFor[node.Config]()
	for field := range cfg.Fields() {
		key := field.Tag.Get("yaml")
		if key == "-" {
			continue
		}
		flag := strings.ReplaceAll(key, "_", "-")
		if env := "WEIR_" + strings.ToUpper(key); flags[flag] != env {
			t.Errorf("setting %s: the environment of --%s is %q, want %s", key, flag, flags[flag], env)
		}
		delete(flags, flag)
	}
	if len(flags) > 0 {
		t.Errorf("flags that no setting has: %v", flags)
	}
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	path := file(t, "weir.yaml", `# of this host
node_id: from-file
data_dir: /file
zone: "file: quoted"
join: [a:1, b:2]
bucket_memory: 64MiB
check_timeout: 1s
voters: 5
insecure: true
`)
	t.Setenv("WEIR_DATA_DIR", "/env")
	t.Setenv("WEIR_NODE_ID", "from-env")
	got, err := served(t, "--config", path, "--node-id", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	want := node.Default()
	want.NodeID, want.DataDir, want.Zone, want.Join = "from-flag", "/env", "file: quoted", []string{"a:1", "b:2"}
	want.BucketMemory, want.CheckTimeout, want.Voters, want.Insecure = 64<<20, time.Second, 5, true
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestConfigFileOfTheEnvironment(t *testing.T) {
	t.Setenv("WEIR_CONFIG", file(t, "weir.yaml", "node_id: x\n"))
	if got, err := served(t); err != nil || got.NodeID != "x" {
		t.Errorf("node id %q, %v; want x", got.NodeID, err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // in the message
	}{
		{"unknown", "node_id: a\ngrpc_adr: x:1\n", []string{"weir.yaml:2:1", "grpc_adr: unknown setting", "grpc_addr"}},
		{"spelt as a flag", "grpc-addr: x:1\n", []string{"weir.yaml:1:1", "unknown setting", "grpc_addr, with underscores"}},
		{"the file itself", "config: x.yaml\n", []string{"weir.yaml:1:1", "unknown setting"}},
		{"twice", "node_id: a\nnode_id: b\n", []string{"weir.yaml:2", "node_id"}},
		{"blank", "node_id:\n", []string{"weir.yaml:1:1", "blank"}},
		{"nested", "join: {a: b}\n", []string{"weir.yaml:1:1", "plain value"}},
		{"list of lists", "join: [[a]]\n", []string{"weir.yaml:1:1", "plain values"}},
		{"a list alone", "- a\n", []string{"weir.yaml", "key: value"}},
		{"not YAML", "node_id: [\n", []string{"weir.yaml"}},
		{"wrong kind", "voters: many\n", []string{"--voters", "weir.yaml:1: voters is set here"}},
		{"wrong size", "zone: a\nbucket_memory: 1.5GiB\n", []string{"not a size", "weir.yaml:2: bucket_memory is set here"}},
		{"refused by the node", "\nvoters: 2\n", []string{"--voters: 2 is not", "weir.yaml:2: voters is set here"}},
		{"two at once", "a: 1\nb: 2\n", []string{"weir.yaml:1:1", "weir.yaml:2:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			weir(t, "serve", "--config", file(t, "weir.yaml", tt.text)).want(t, exitUsage, tt.want...)
		})
	}
	weir(t, "serve", "--config", "nowhere.yaml").want(t, exitUsage, "--config", "nowhere.yaml")
}

func TestEmptyConfigFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if _, err := served(t, "--config", file(t, "weir.yaml", text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSettingsFile(f *testing.F) {
	f.Add("node_id: a\njoin: [a, b]\n# x\n")
	f.Add("a: {b: c}\n---\n- d\n")
	f.Add("node_id: &x a\njoin: *x\n? k\n: v\n")
	flags := []string{"node-id", "join"}
	f.Fuzz(func(t *testing.T, text string) {
		var s settingsFile
		if err := s.parse("f.yaml", []byte(text), flags); err != nil {
			return
		}
		for name, set := range s.settings {
			if name != "node-id" && name != "join" {
				t.Errorf("%q set %s", text, name)
			}
			if set.line < 1 {
				t.Errorf("%q: %s has no line", text, name)
			}
		}
	})
}
