package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestMain lets the test binary be the plugin, under the plugin's name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "session-manager-plugin" {
		os.Exit(m.Run())
	}
	switch {
	case len(os.Args) == 1: // is it there?
		return
	case len(os.Args) == 2 && os.Args[1] == "--version":
		fmt.Println("1.2.707.0")
		return
	}
	if err := plugin(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pluginBytes is how much the stand-in for the plugin sends, and gets back.
const pluginBytes = 5<<20 + 3

// plugin is a stand-in for session-manager-plugin, as the AWS CLI calls it: it
// trusts the system's certificate authorities, honours HTTPS_PROXY, and brings
// the token in its first frame (session-manager-plugin, datachannel.go,
// OpenDataChannelInput).
func plugin(args []string) error {
	if len(args) != 6 || args[2] != "StartSession" {
		return fmt.Errorf("called with %q", args)
	}
	if env, ok := os.LookupEnv(args[0]); ok {
		args[0] = env
	}
	var start struct{ SessionId, TokenValue, StreamUrl string }
	if err := json.Unmarshal([]byte(args[0]), &start); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, start.StreamUrl, nil)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	hello, err := json.Marshal(map[string]string{"MessageSchemaVersion": "1.0", "RequestId": "r", "ClientId": "c", "TokenValue": start.TokenValue})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, hello); err != nil {
		return err
	}
	want := make([]byte, pluginBytes)
	rand.Read(want)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 100_000)
			if conn.Write(ctx, websocket.MessageBinary, rest[:n]) != nil {
				return // the reader learns of it
			}
			rest = rest[n:]
		}
	}()
	var got []byte
	for len(got) < len(want) {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", len(got), err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, want) {
		return errors.New("what came back is not what was sent")
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	fmt.Printf("echoed %d bytes in session %s\n", len(got), start.SessionId)
	return nil
}
