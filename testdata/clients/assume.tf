terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  assume_role {
    role_arn     = "arn:aws:iam::444455556666:role/Second"
    session_name = "terraform"
    duration     = "2h"
  }
}

data "aws_caller_identity" "me" {}

resource "aws_s3_bucket" "b" {
  bucket        = "terraform-assumed"
  force_destroy = true
}

output "me" {
  value = data.aws_caller_identity.me.arn
}
