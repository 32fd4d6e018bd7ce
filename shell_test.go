package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/coder/websocket"
)

// plugin makes the test binary a stand-in for session-manager-plugin, as the AWS CLI calls
// it: it trusts the system's certificate authorities, honours HTTPS_PROXY, and brings the
// token in its first frame. It says hello on the data channel, tells what comes back and,
// where SHELL_STAYS names a file, makes it and waits until somebody cuts the channel.
func plugin() {
	if len(os.Args) < 3 { // is it there, and of which version?
		fmt.Println("1.2.707.0")
		return
	}
	if err := shell(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "plugin:", err)
		os.Exit(1)
	}
}

func shell(answer string) error {
	if v, ok := os.LookupEnv(answer); ok { // newer AWS CLIs keep the token out of the arguments
		answer = v
	}
	var start struct{ SessionId, TokenValue, StreamUrl string }
	if err := json.Unmarshal([]byte(answer), &start); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, start.StreamUrl, nil)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	hello, err := json.Marshal(map[string]string{"MessageSchemaVersion": "1.0", "RequestId": "r", "ClientId": "c", "TokenValue": start.TokenValue})
	if err != nil {
		return err
	}
	if err := errors.Join(conn.Write(ctx, websocket.MessageText, hello), conn.Write(ctx, websocket.MessageBinary, []byte("hello"))); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("the channel of %s says %s\n", start.SessionId, got)
	stays := os.Getenv("SHELL_STAYS")
	if stays == "" {
		return conn.Close(websocket.StatusNormalClosure, "")
	}
	if err := os.WriteFile(stays, got, 0o600); err != nil {
		return err
	}
	_, _, err = conn.Read(ctx)
	return fmt.Errorf("cut: %w", err)
}
