package simaws

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const terraformConfig = `
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
provider "aws" { region = "us-east-1" }
data "aws_caller_identity" "me" {}
resource "aws_s3_bucket" "b" {
  bucket        = "terraform-bucket"
  force_destroy = true
  tags          = { team = "blue" }
}
resource "aws_s3_bucket_policy" "b" {
  bucket = aws_s3_bucket.b.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Deny", Principal = "*", Action = "s3:GetObject", Resource = "${aws_s3_bucket.b.arn}/secret/*" }] })
}
resource "aws_s3_bucket_public_access_block" "b" {
  bucket                  = aws_s3_bucket.b.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}
resource "aws_s3_object" "o" {
  bucket  = aws_s3_bucket.b.id
  key     = "dir/a b+c.txt"
  content = "made by ${data.aws_caller_identity.me.arn}"
}
resource "aws_dynamodb_table" "t" {
  name         = "terraform-table"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
  tags = { team = "blue" }
}
resource "aws_dynamodb_table_item" "i" {
  table_name = aws_dynamodb_table.t.name
  hash_key   = aws_dynamodb_table.t.hash_key
  item       = jsonencode({ id = { S = "1" }, n = { N = "2" } })
}
`

// pluginDir finds the AWS provider in a filesystem mirror: TF_PLUGIN_DIR, or
// where such mirrors are usually put. There is no registry to ask in a test.
func pluginDir(t *testing.T) string {
	t.Helper()
	candidates := []string{os.Getenv("TF_PLUGIN_DIR"), "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins"}
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".terraform.d", "plugins"))
	}
	more, _ := filepath.Glob("/opt/*/registry.terraform.io")
	for _, m := range more {
		candidates = append(candidates, filepath.Dir(m))
	}
	for _, dir := range candidates {
		if found, _ := filepath.Glob(filepath.Join(dir, "registry.terraform.io/hashicorp/aws/*")); dir != "" && len(found) > 0 {
			return dir
		}
	}
	t.Skip("no hashicorp/aws provider in a local mirror; set TF_PLUGIN_DIR")
	return ""
}

// TestTerraform applies, plans to no change and destroys.
func TestTerraform(t *testing.T) {
	if testing.Short() {
		t.Skip("starting the provider takes several seconds")
	}
	t.Parallel()
	bin, err := exec.LookPath("terraform")
	if err != nil {
		t.Skipf("terraform is not on PATH: %v", err)
	}
	plugins := pluginDir(t)
	f := newSim(t, nil)
	env := append(f.env(t, connectProxy(t, f.Sim)), "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(terraformConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-plugin-dir=" + plugins, "-no-color"},
		{"apply", "-auto-approve", "-no-color"},
		{"plan", "-detailed-exitcode", "-no-color"}, // 2 when there is something to change
		{"destroy", "-auto-approve", "-no-color"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		cmd := exec.CommandContext(ctx, bin, args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("terraform %s: %v\n%s", args[0], err, out)
		}
	}
	if f.s3.bucket("terraform-bucket") != nil || len(f.ddb.all) != 0 {
		t.Error("destroy left something behind")
	}
	for _, r := range f.records(t) {
		if code, _ := r["errorCode"].(string); code == "UnknownOperationException" || code == "NotImplemented" || code == "InvalidAction" {
			t.Errorf("terraform asked for what is not simulated: %v of %v", r["eventName"], r["eventSource"])
		}
	}
}
