package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A settingsFile is the --config file of `weir serve`: a flat map whose keys are the
// flags, spelt with underscores. Flags and environment win over it.
type settingsFile struct {
	path     string
	settings map[string]setting // by flag name
	used     map[string]bool    // flags whose value comes from here
}

// A setting is one line of the file.
type setting struct {
	key    string
	value  any
	line   int
	column int
}

// configFlag is the flag that names the file.
type configFlag string

// BeforeResolve reads the file and has the flags that were not given take its values.
func (configFlag) BeforeResolve(ctx *kong.Context, trace *kong.Path, file *settingsFile) error {
	path, ok := ctx.FlagValue(trace.Flag).(configFlag)
	if !ok || path == "" {
		return nil
	}
	text, err := os.ReadFile(string(path))
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var names []string
	for _, flag := range ctx.Selected().Flags {
		if flag.Name != "config" {
			names = append(names, flag.Name)
		}
	}
	if err := file.parse(string(path), text, names); err != nil {
		return err
	}
	ctx.AddResolver(kong.ResolverFunc(file.resolve))
	return nil
}

// parse reads the settings strictly. All that is wrong is reported, with its line.
func (f *settingsFile) parse(path string, text []byte, flags []string) error {
	f.path, f.settings, f.used = path, map[string]setting{}, map[string]bool{}
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		var syntax yaml.Error
		if errors.As(err, &syntax) && syntax.GetToken() != nil {
			at := syntax.GetToken().Position
			return fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, syntax.GetMessage())
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	var wrong []error
	for _, d := range doc.Docs {
		switch body := d.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode:
		case *ast.MappingNode:
			for _, v := range body.Values {
				wrong = append(wrong, f.add(v, flags))
			}
		case *ast.MappingValueNode:
			wrong = append(wrong, f.add(body, flags))
		default:
			return fmt.Errorf("%s:1: a settings file is lines of key: value, as grpc_addr: 127.0.0.1:7070", path)
		}
	}
	return errors.Join(wrong...)
}

func (f *settingsFile) add(node *ast.MappingValueNode, flags []string) error {
	at := node.Key.GetToken().Position
	s := setting{key: node.Key.GetToken().Value, line: at.Line, column: at.Column}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s:%d:%d: %s: %s", f.path, s.line, s.column, s.key, fmt.Sprintf(format, args...))
	}
	flag := strings.ReplaceAll(s.key, "_", "-")
	if !slices.Contains(flags, flag) || strings.Contains(s.key, "-") {
		known := make([]string, len(flags))
		for i, name := range flags {
			known[i] = strings.ReplaceAll(name, "-", "_")
		}
		slices.Sort(known)
		if near := strings.ReplaceAll(s.key, "-", "_"); near != s.key && slices.Contains(known, near) {
			return bad("unknown setting: did you mean %s, with underscores?", near)
		}
		return bad("unknown setting: known are %s", strings.Join(known, ", "))
	}
	if before, ok := f.settings[flag]; ok {
		return bad("stands in line %d too: keep one of them", before.line)
	}
	switch v := node.Value.(type) {
	case *ast.SequenceNode:
		var items []string
		for _, item := range v.Values {
			if _, ok := item.(ast.ScalarNode); !ok {
				return bad("is not a list of plain values")
			}
			items = append(items, item.GetToken().Value)
		}
		s.value = strings.Join(items, ",")
	case *ast.NullNode:
		return bad("is blank: give a value, or leave the line out")
	case ast.ScalarNode:
		s.value = v.GetToken().Value
	default:
		return bad("is not a plain value")
	}
	f.settings[flag] = s
	return nil
}

// resolve gives a flag its value from the file, unless the environment has one.
func (f *settingsFile) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s, ok := f.settings[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	f.used[flag.Name] = true
	return s.value, nil
}

// locate adds file and line to an error about a flag whose value came from the file.
func (f *settingsFile) locate(err error) error {
	if places := f.places(err); places != "" {
		return fmt.Errorf("%w\n%s", err, places)
	}
	return err
}

// places returns a line for each setting of the file that an error is about.
func (f *settingsFile) places(err error) string {
	var lines []string
	for name := range f.used {
		if err != nil && (strings.Contains(err.Error(), "--"+name+":") || strings.Contains(err.Error(), "--"+name+"=")) {
			s := f.settings[name]
			lines = append(lines, fmt.Sprintf("%s:%d: %s is set here", f.path, s.line, s.key))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
