package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes, for scripts.
const (
	exitOK     = 0
	exitError  = 1 // it could not be done, or not be found out
	exitUsage  = 2 // the command itself was wrong
	exitDenied = 3 // the answer is no: denied, or different
)

// cli is the command line.
type cli struct {
	Output string `short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"Print text for people or json for scripts (default ${default})."`

	Serve       serveCmd       `cmd:"" group:"Run" help:"Run a node."`
	Demo        demoCmd        `cmd:"" group:"Run" help:"Start three nodes, drive traffic at them and compare with the exact answer."`
	Check       checkCmd       `cmd:"" group:"Ask" help:"Ask whether a request may pass."`
	Keys        keysCmd        `cmd:"" group:"Ask" help:"Show or reset the buckets of a key."`
	Policy      policyCmd      `cmd:"" group:"Operate" help:"Validate, apply and read policies."`
	Cluster     clusterCmd     `cmd:"" group:"Operate" help:"Show members and table."`
	Healthcheck healthcheckCmd `cmd:"" group:"Operate" help:"Ask a node whether it is ready."`
	Simulate    simulateCmd    `cmd:"" group:"Try" help:"Replay an access log through policies, offline."`
	Replay      replayCmd      `cmd:"" group:"Try" help:"Send an access log to a live cluster."`
	Bench       benchCmd       `cmd:"" group:"Try" help:"Measure checks beside empty calls."`
	Version     versionCmd     `cmd:"" group:"Run" help:"Print the version."`
}

const description = `weir limits rates in a cluster with no central store. A client asks any node; the node that owns the key decides.

Start with:

  weir demo                                 three nodes, real traffic, ten seconds
  weir serve                                one node with sample policies
  weir check demo user=alice path=/login    ask it

Commands that talk to a node take --addr, or WEIR_ADDR. Exit codes: 0 yes, 1 error, 2 wrong usage, 3 the answer is no.`

// streams are where a command reads and writes, and how.
type streams struct {
	in       io.Reader
	out, err io.Writer
	json     bool
}

// An exitCode is an error that ends the command with a code; its text, where it has
// one, is printed.
type exitCode struct {
	code int
	err  error
}

func (e *exitCode) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitCode) Unwrap() error { return e.err }

// usage returns an error that ends the command with exitUsage.
func usage(format string, args ...any) error {
	return &exitCode{exitUsage, fmt.Errorf(format, args...)}
}

// denied ends a command whose answer, already printed, is no.
var denied error = &exitCode{code: exitDenied}

// stopped carries kong's wish to exit, after --help, out of the parser.
type stopped int

// run runs one command line and returns its exit code. Ending ctx asks it to stop.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	s := &streams{in: stdin, out: stdout, err: stderr}
	defer func() {
		if e := recover(); e != nil {
			wish, ok := e.(stopped)
			if !ok {
				panic(e)
			}
			code = int(wish)
		}
	}()
	var c cli
	file := &settingsFile{}
	parser, err := kong.New(&c,
		kong.Name("weir"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { panic(stopped(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, NoAppDescFormat: true, WrapUpperBound: 100}),
		kong.Vars{"version": version()}, kong.Bind(s, file), kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		return complain(stderr, fmt.Errorf("command line: %w", err))
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return complain(stderr, misused(err, file))
	}
	s.json = c.Output == "json"
	return complain(stderr, file.locate(parsed.Run()))
}

// misused explains what is wrong with a command line, and where to read on.
func misused(err error, file *settingsFile) error {
	if file.places(err) != "" {
		return &exitCode{exitUsage, file.locate(err)}
	}
	remedy := "see weir --help"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil && parse.Context.Selected() != nil {
		remedy = "see weir " + parse.Context.Selected().Path() + " --help"
		remedy = strings.Replace(remedy, "weir weir ", "weir ", 1)
	}
	return &exitCode{exitUsage, fmt.Errorf("%w\n%s", err, remedy)}
}

// complain prints an error for a person and returns the exit code it stands for.
func complain(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitError
	if ends, ok := errors.AsType[*exitCode](err); ok {
		code = ends.code
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line != "" {
			_, _ = fmt.Fprintf(w, "weir: %s\n", line) // there is nobody left to tell
		}
	}
	return code
}
