terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

resource "aws_s3_bucket" "b" {
  bucket        = "terraform-clients"
  force_destroy = true
  tags          = { team = "payments & co" }
}

resource "aws_s3_object" "o" {
  bucket  = aws_s3_bucket.b.id
  key     = "dir/a b+c%ü.txt"
  content = "refunds need two people"
}

resource "aws_dynamodb_table" "t" {
  name         = "terraform-clients"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
}
