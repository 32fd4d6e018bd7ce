package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
)

// sessionRow is a sign-in, or the use of an AWS role, as `sessions ls` shows it.
type sessionRow struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	User string `json:"user"`
	What string `json:"what"`
	Addr string `json:"client_addr,omitempty"`
	// Device is the id of the machine, and DeviceName what it calls itself.
	Device     string `json:"device,omitempty"`
	DeviceName string `json:"device_name,omitempty"`
	Since      string `json:"since"`
	ExpiresAt  string `json:"expires_at"`
	Current    bool   `json:"current,omitempty"`
}

func (c *cli) sessions() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "Sign-ins and sessions on AWS apps: list, end"}
	var user string
	var all bool
	list := &cobra.Command{
		Use: "ls", Short: "List what runs: your own, or that of others", Args: cobra.NoArgs,
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, _ []string) error {
			if all {
				user = "*"
			}
			rows, err := sessionRows(cmd.Context(), b, user)
			if err != nil {
				return err
			}
			if named := user; named != "" && !all && len(rows) == 0 {
				if err := c.asRecorded(cmd.Context(), b, cmd.Flags().Lookup("user")); err != nil {
					return err
				}
				if user != named {
					if rows, err = sessionRows(cmd.Context(), b, user); err != nil {
						return err
					}
				}
			}
			return c.print(rows, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "ID\tKIND\tUSER\tWHAT\tFROM\tDEVICE\tSINCE\tUNTIL")
				for _, r := range rows {
					if r.Current {
						r.What += " (this one)"
					}
					device := orDash(r.Device)
					if r.DeviceName != "" {
						device += " (" + oneLine(r.DeviceName) + ")"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Kind, r.User, r.What, orDash(r.Addr), device, r.Since, r.ExpiresAt)
				}
			})
		}),
	}
	list.Flags().StringVar(&user, "user", "", "of this user")
	list.Flags().BoolVar(&all, "all", false, "of everybody")
	rm := &cobra.Command{
		Use: "rm ID", Short: "End a session, or a sign-in with every session started by it", Args: cobra.ExactArgs(1),
		RunE: c.withBroker(func(cmd *cobra.Command, b *client.Client, args []string) error {
			err := b.EndSession(cmd.Context(), args[0])
			var unknown *api.Error
			if errors.As(err, &unknown) && unknown.Code == api.CodeNotFound {
				err = b.RevokeSignin(cmd.Context(), args[0])
			}
			if err != nil {
				return err
			}
			c.say("Ended %s.", args[0])
			return nil
		}),
	}
	cmd.AddCommand(list, rm)
	return cmd
}

func sessionRows(ctx context.Context, b *client.Client, user string) ([]sessionRow, error) {
	signins, err := b.Signins(ctx, user)
	if err != nil {
		return nil, err
	}
	rows := []sessionRow{}
	for _, s := range signins {
		what := s.Method
		if s.Connector != "" {
			what += " " + s.Connector
		}
		rows = append(rows, sessionRow{ID: s.Serial, Kind: "signin", User: s.User, What: what, Addr: s.ClientAddr, Device: s.Device, DeviceName: s.DeviceName,
			Since: s.SignedInAt.Format(time.RFC3339), ExpiresAt: s.ExpiresAt.Format(time.RFC3339), Current: s.Current})
	}
	running, err := b.Sessions(ctx, user, "")
	if err != nil {
		return nil, err
	}
	for _, s := range running {
		rows = append(rows, sessionRow{ID: s.ID, Kind: "app", User: s.User, What: s.App + " as " + s.AWSRoleARN, Device: s.Device,
			Since: s.StartedAt.Format(time.RFC3339), ExpiresAt: s.ExpiresAt.Format(time.RFC3339)})
	}
	return rows, nil
}
