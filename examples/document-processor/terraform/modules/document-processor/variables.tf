variable "name" {
  type        = string
  description = "Of the function; the layer, the role and the log group are called after it."
}

variable "bucket" {
  type        = string
  description = "The bucket to make for documents and results."
}

variable "project" {
  type        = string
  description = "The directory with layerwise.toml. Relative: an absolute path would differ between checkouts."
}

variable "code" {
  type        = string
  description = "The directory of the function's code, relative to the project."
  default     = "extract-text"
}

variable "runtime" {
  type    = string
  default = "python3.11"
}

variable "architecture" {
  type    = string
  default = "x86_64"
}

variable "log_retention_days" {
  type    = number
  default = 30
}
