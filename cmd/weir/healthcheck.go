package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type healthcheckCmd struct {
	HTTPAddr string        `name:"http-addr" env:"WEIR_HTTP_ADDR" default:"127.0.0.1:7072" placeholder:"HOST:PORT" help:"HTTP address of the node (default ${default}, ${env})."`
	Timeout  time.Duration `default:"2s" help:"How long to wait."`
}

// Help is shown by --help.
func (healthcheckCmd) Help() string {
	return `Exits 0 when the node is ready: policies and a table that names it are applied. Exits 1 and says what is missing when it is not, or does not answer. Made for containers that hold nothing but this binary.

Example:

  weir healthcheck --http-addr 127.0.0.1:7072`
}

// Run asks /readyz.
func (c *healthcheckCmd) Run(ctx context.Context, s *streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	ready, detail, err := c.ask(ctx)
	if err != nil {
		if call, ok := errors.AsType[*url.Error](err); ok {
			err = call.Err // the rest says what is asked for, which the reader knows
		}
		if strings.Contains(err.Error(), "malformed HTTP response") {
			err = errors.New("what listens there does not speak HTTP")
		}
		return fmt.Errorf("no answer from %s: %w: is a node running there? give its HTTP address with --http-addr", c.HTTPAddr, err)
	}
	if s.json {
		if err := s.printJSON(map[string]any{"ready": ready, "detail": detail}); err != nil {
			return err
		}
	} else if ready {
		s.printf("ready\n")
	}
	if !ready {
		if s.json {
			return &exitCode{code: exitError}
		}
		return fmt.Errorf("%s is not ready: %s", c.HTTPAddr, detail)
	}
	return nil
}

func (c *healthcheckCmd) ask(ctx context.Context) (ready bool, detail string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.HTTPAddr+"/readyz", nil)
	if err != nil {
		return false, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: a health check is for the node itself
	resp, err := client.Do(req)
	if err != nil {
		return false, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return false, "", err
	}
	return resp.StatusCode == http.StatusOK, strings.TrimSpace(string(body)), nil
}
