"""What a fit says about new rows and about itself."""
