package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// maxAnswer is how large an answer may grow, in bytes.
const maxAnswer = 8 << 20

// nodeFlags tell commands which node to talk to.
type nodeFlags struct {
	Addr    string        `env:"WEIR_ADDR" default:"127.0.0.1:7070" placeholder:"HOST:PORT" help:"gRPC address of a node (default ${default}, ${env})."`
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer."`
}

// dial connects to a node; the connection is made with the first call.
func dial(addr string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("--addr: %q: %w", addr, err)
	}
	return conn, nil
}

// call runs f with a connection to the node and a deadline, and says in words for a
// person what went wrong.
func (n *nodeFlags) call(ctx context.Context, f func(context.Context, *grpc.ClientConn) error) error {
	if n.Timeout <= 0 {
		return usage("--timeout: %v is not positive: give a duration like 5s", n.Timeout)
	}
	conn, err := dial(n.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	return explain(f(ctx, conn), n.Addr)
}

// ask is call for what names a request or a key: where the node refuses that as wrong, the
// command was.
func (n *nodeFlags) ask(ctx context.Context, f func(context.Context, *grpc.ClientConn) error) error {
	bad := false
	err := n.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		err := f(ctx, conn)
		bad = status.Code(err) == codes.InvalidArgument
		return err
	})
	if bad {
		return &exitCode{exitUsage, err}
	}
	return err
}

// explain turns the error of a call into one that says what to do.
func explain(err error, addr string) error {
	st, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch st.Code() {
	case codes.Unavailable:
		if strings.Contains(st.Message(), "looked like an HTTP/1.1 header") {
			return fmt.Errorf("what listens at %s speaks HTTP, not gRPC: give a node's gRPC address with --addr (weir serve listens for gRPC on port 7070)", addr)
		}
		if strings.Contains(st.Message(), "connection error") {
			return fmt.Errorf("no node answers at %s: start one with weir serve, or give its gRPC address with --addr (%s)", addr, lastPart(st.Message()))
		}
		return fmt.Errorf("%s cannot answer now: %s", addr, st.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s did not answer in time: try again, or allow more with --timeout", addr)
	case codes.Canceled:
		return fmt.Errorf("stopped before %s answered", addr)
	case codes.Unimplemented:
		return fmt.Errorf("what listens at %s does not know this call: is it the gRPC address of a node of this version, and not that of peers?", addr)
	}
	return fmt.Errorf("%s: %s", addr, st.Message())
}

// lastPart returns the cause at the end of gRPC's message about a connection.
func lastPart(message string) string {
	if i := strings.LastIndex(message, "desc = "); i >= 0 {
		message = message[i+len("desc = "):]
	}
	return strings.TrimPrefix(strings.Trim(message, `"`), "transport: Error while dialing: ")
}

// attributes reads key=value arguments.
func attributes(args []string) ([]*weirv1.Attribute, error) {
	attrs := make([]*weirv1.Attribute, len(args))
	for i, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usage("%q is not key=value: write attributes as user=42 path=/v1/orders", arg)
		}
		attrs[i] = &weirv1.Attribute{Key: key, Value: value}
	}
	return attrs, nil
}

// word returns the word for an enum value of the protocol: "limited" for REASON_LIMITED.
func word(value fmt.Stringer, prefix string) string {
	w := strings.ToLower(strings.TrimPrefix(value.String(), prefix))
	if w == "unspecified" {
		return ""
	}
	return w
}
