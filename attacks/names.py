"""Which tool of the catalogue does what a generic tool name of a case says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DATABASE = "users"
"""The database of the base that has a table ``users``."""


@dataclass(frozen=True)
class Target:
    """A tool of the catalogue.

    Attributes:
        name: of the tool.
        renamed: generic parameters that have another name here.
        given: parameters that the generic tool does not have.
    """

    name: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


_PERIOD = {"first_day": "2025-03-17", "last_day": "2025-03-28"}
_ANY: Mapping[str, Any] = {"where": {}}
_FORMULA = {"query": "expression", "expr": "expression"}
_MEANINGS: tuple[tuple[Target, str], ...] = (
    (Target("run_python"), "python exec execute_python run_code code_interpreter python_exec"),
    (Target("run_shell"), "shell bash sh run_command execute_command exec_shell shell_exec"),
    (Target("reset_python"), "restart_python restart_kernel reset_kernel"),
    (Target("list_files", {"path": "folder"}), "list_dir ls list_directory dir listdir list_folder"),
    (Target("show_tree", {"path": "folder"}), "tree walk"),
    (Target("read_file"), "cat open_file get_file file_read load_file read_text"),
    (Target("write_file", {"content": "text"}), "save_file create_file file_write write_text touch"),
    (Target("append_line", {"content": "text"}), "append_file append file_append append_text"),
    (Target("replace_in_file", {"old": "find", "new": "replace"}), "edit_file str_replace sed"),
    (Target("copy_path"), "copy_file copy copy_dir cp copy_folder copytree"),
    (Target("move_file"), "rename rename_file mv move file_move"),
    (Target("delete_file"), "delete remove rm remove_file unlink file_delete"),
    (Target("remove_folder", {}, {"recursive": True}), "delete_dir rmdir remove_dir rmtree delete_folder rm_rf"),
    (Target("create_folder"), "mkdir make_dir create_dir makedirs make_folder"),
    (Target("glob_files"), "glob find glob_search"),
    (Target("find_text"), "search_files search_text find_in_files"),
    (Target("grep_files", {}, {"mode": "regex"}), "grep grep_file search_file search_in_file rg"),
    (Target("describe_file"), "stat file_info stat_file get_file_info file_stat file_type"),
    (Target("read_end", {}, {"end": "first"}), "head"),
    (Target("read_end"), "tail"),
    (Target("dump_bytes"), "hexdump xxd read_bytes read_binary"),
    (Target("checksum_files", {"path": "paths"}), "hash_file checksum file_hash sha256 md5 sha256_file"),
    (Target("compare_files"), "diff diff_files file_diff"),
    (Target("count_in_files", {"path": "paths"}), "word_count wc count_lines line_count"),
    (Target("measure_folders", {"path": "folder"}), "du disk_usage folder_size"),
    (Target("set_permissions"), "chmod set_mode"),
    (Target("list_links", {"path": "folder"}), "readlink list_symlinks"),
    (Target("apply_patch"), "patch patch_file"),
    (Target("calculate"), "calculator calc evaluate eval eval_expression math_eval"),
    (Target("sum_values"), "sum total"),
    (Target("mean"), "average avg"),
    (Target("format_template"), "template render_template format jinja string_format"),
    (Target("load_array"), "np_load load_npy numpy_load read_npy array_load"),
    (Target("image_info"), "image_open open_image image_read img_info identify"),
    (Target("image_view"), "view_image show_image image_ocr image_show"),
    (Target("image_resize"), "resize resize_image img_resize"),
    (Target("image_thumbnail"), "thumbnail make_thumbnail"),
    (Target("image_convert"), "convert_image img_convert image_to_png"),
    (Target("image_crop"), "crop crop_image"),
    (Target("image_rotate"), "rotate rotate_image"),
    (Target("extract_archive"), "unzip untar extract extract_zip extract_tar unpack zip_extract tar_extract"),
    (Target("list_archive"), "zip_list list_zip tar_list list_tar archive_list"),
    (Target("read_archive_member"), "zip_read read_zip_member unzip_read"),
    (Target("create_archive"), "zip tar zip_create zip_files create_zip make_zip create_tar"),
    (Target("decompress_file"), "gunzip gzip_decompress decompress bunzip2 unxz ungzip"),
    (Target("compress_file"), "gzip compress gzip_file"),
    (Target("query_database"), "sql_query query sql sqlite_query sql_select db_query select"),
    (Target("run_statement"), "sql_execute sql_write sql_exec sql_update sql_insert sql_delete execute_sql db_execute"),
    (Target("describe_database"), "sql_schema schema db_schema"),
    (Target("list_tables"), "sql_tables tables"),
    (Target("get_current_weather"), "weather_get weather weather_current get_weather"),
    (Target("get_weather_forecast"), "weather_forecast forecast"),
    (Target("create_calendar_event"), "calendar_create calendar_add create_event add_event calendar_create_event"),
    (Target("list_calendar_events", {}, _PERIOD), "calendar_list list_events calendar_get calendar_list_events"),
    (Target("cancel_calendar_event"), "calendar_delete delete_event calendar_cancel"),
    (Target("send_mail"), "mail_send email_send send_email"),
    (Target("search_mail", {}, _ANY), "mail_list email_list list_mail inbox mail_search email_search"),
    (Target("create_ticket"), "ticket_create tickets_create"),
    (Target("search_tickets", {}, _ANY), "ticket_list tickets_list list_tickets"),
    (Target("add_contact"), "contact_create contacts_add create_contact"),
    (Target("search_contacts", {}, _ANY), "contact_list contacts_list list_contacts"),
    (Target("add_task", {"list": "to_list"}), "todo_create todo_add create_todo task_create"),
    (Target("search_tasks", {}, _ANY), "todo_list list_todos task_list"),
    (Target("place_order"), "order_create create_order orders_create"),
    (Target("list_orders"), "order_list orders_list"),
    (Target("transfer_money"), "bank_transfer transfer bank_send"),
    (Target("list_bank_accounts"), "bank_balance balance bank_accounts"),
    (Target("get_stock_quotes", {"symbol": "symbols"}), "stock_price stock_get stock_quote stocks_get"),
    (Target("make_reservation"), "booking_create book hotel_book"),
    (Target("list_reservations"), "booking_list bookings_list"),
    # nothing here opens an address of the web: what opens things takes it for a name of a file
    (
        Target("read_file", {"url": "path"}),
        "http_get http_post fetch url_get download web_fetch get_url curl",
    ),
    (
        Target("read_table"),
        "read_csv csv_read read_excel read_xlsx excel_read xlsx_read read_parquet load_csv",
    ),
    (Target("read_table"), "read_jsonl load_excel pickle_load load_pickle read_pickle unpickle load_model joblib_load"),
    (Target("describe_table_file"), "describe_csv csv_info csv_describe profile_csv"),
    (Target("compute_column", _FORMULA, {"name": "result"}), "csv_query df_query df_eval table_query pandas_query"),
    (Target("compute_column", _FORMULA, {"name": "result"}), "pandas_eval csv_eval table_eval"),
    (
        Target("read_settings"),
        "read_json json_load json_read load_json yaml_load read_yaml load_yaml yaml_read",
    ),
    (Target("xml_outline"), "xml_parse read_xml parse_xml xml_read xml_load load_xml"),
    (Target("html_text"), "html_parse read_html html_to_text parse_html html_read"),
    (Target("pdf_read"), "pdf_text read_pdf pdf_to_text pdf_extract"),
    (Target("word_read"), "docx_text read_docx docx_read docx_to_text"),
    (Target("markdown_to_html"), "markdown_render render_markdown"),
    (Target("eml_read"), "read_eml parse_email eml_parse read_email"),
    (Target("ics_events"), "read_ics ics_parse parse_ics"),
    (Target("query_json"), "json_query jq jsonpath"),
    (Target("format_json"), "json_parse parse_json json_format json_loads"),
    (Target("convert_structure", {}, {"source": "yaml", "target": "json"}), "yaml_parse parse_yaml yaml_loads"),
    (Target("validate_json"), "json_validate json_schema_validate"),
    (Target("regex_search"), "regex_match regex_find re_search regex_findall regex"),
    (Target("regex_replace"), "regex_sub re_sub"),
    (Target("decode_text", {}, {"coding": "base64"}), "base64_decode b64decode"),
    (Target("encode_text", {}, {"coding": "base64"}), "base64_encode b64encode"),
    (Target("hash_text"), "hash sha256_text md5_text"),
    (Target("plot_line"), "plot line_plot chart make_plot"),
    (Target("plot_histogram"), "histogram hist"),
    (Target("read_variables"), "env_get get_env getenv environ"),
    (Target("read_clock"), "clock now time_now get_time date_now current_time get_date"),
)
TABLE: Mapping[str, Target] = {name: target for target, names in _MEANINGS for name in names.split()}
