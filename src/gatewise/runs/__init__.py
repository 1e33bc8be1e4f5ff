"""What studies and experiments share: folders, files of users, processes."""
