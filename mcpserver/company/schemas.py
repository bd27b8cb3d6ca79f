"""The tables of the databases in SQL; every key is called ``id``."""

HR = """
CREATE TABLE departments (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, budget INTEGER NOT NULL);
CREATE TABLE employees (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, department_id INTEGER NOT NULL REFERENCES departments(id),
    title TEXT NOT NULL, hired TEXT NOT NULL, city TEXT);
CREATE TABLE salaries (
    id INTEGER PRIMARY KEY, employee_id INTEGER NOT NULL REFERENCES employees(id), year INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0), UNIQUE (employee_id, year));
CREATE INDEX employees_department ON employees(department_id);
"""

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, email TEXT UNIQUE);
CREATE TABLE products (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price REAL NOT NULL CHECK (price >= 0),
    stock INTEGER NOT NULL DEFAULT 0);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(id), day TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'paid', 'shipped', 'delivered', 'cancelled')));
CREATE TABLE order_items (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders(id),
    product_id INTEGER NOT NULL REFERENCES products(id), quantity INTEGER NOT NULL CHECK (quantity > 0),
    price REAL NOT NULL);
CREATE INDEX customers_city ON customers(city);
CREATE INDEX products_category ON products(category);
CREATE INDEX orders_customer ON orders(customer_id);
CREATE INDEX orders_day ON orders(day);
CREATE INDEX order_items_order ON order_items(order_id);
CREATE INDEX order_items_product ON order_items(product_id);
"""

CRM = """
CREATE TABLE companies (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, industry TEXT NOT NULL, city TEXT, employees INTEGER);
CREATE TABLE contacts (
    id INTEGER PRIMARY KEY, company_id INTEGER NOT NULL REFERENCES companies(id), name TEXT NOT NULL, role TEXT,
    email TEXT, phone TEXT);
CREATE TABLE deals (
    id INTEGER PRIMARY KEY, company_id INTEGER NOT NULL REFERENCES companies(id),
    contact_id INTEGER NOT NULL REFERENCES contacts(id), title TEXT NOT NULL, amount INTEGER NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('lead', 'offer', 'negotiation', 'won', 'lost')), closes TEXT);
CREATE INDEX contacts_company ON contacts(company_id);
CREATE INDEX deals_company ON deals(company_id);
CREATE INDEX deals_stage ON deals(stage);
"""

PROJECTS = """
CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, email TEXT UNIQUE);
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, lead_id INTEGER NOT NULL REFERENCES members(id),
    starts TEXT NOT NULL, ends TEXT NOT NULL, budget INTEGER NOT NULL);
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects(id),
    member_id INTEGER NOT NULL REFERENCES members(id), title TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('todo', 'doing', 'blocked', 'done')),
    priority TEXT NOT NULL CHECK (priority IN ('low', 'normal', 'high')), due TEXT, hours INTEGER NOT NULL DEFAULT 0);
CREATE INDEX tasks_project ON tasks(project_id);
CREATE INDEX tasks_member ON tasks(member_id);
CREATE INDEX tasks_status ON tasks(status);
"""

LOGISTICS = """
CREATE TABLE warehouses (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, city TEXT NOT NULL, capacity INTEGER NOT NULL);
CREATE TABLE vehicles (
    id INTEGER PRIMARY KEY, plate TEXT NOT NULL UNIQUE, kind TEXT NOT NULL CHECK (kind IN ('van', 'truck', 'trailer')),
    load_kg INTEGER NOT NULL, warehouse_id INTEGER NOT NULL REFERENCES warehouses(id));
CREATE TABLE shipments (
    id INTEGER PRIMARY KEY, origin_id INTEGER NOT NULL REFERENCES warehouses(id),
    destination_id INTEGER NOT NULL REFERENCES warehouses(id), vehicle_id INTEGER NOT NULL REFERENCES vehicles(id),
    day TEXT NOT NULL, weight_kg INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('planned', 'on the way', 'delivered', 'lost')));
CREATE INDEX vehicles_warehouse ON vehicles(warehouse_id);
CREATE INDEX shipments_day ON shipments(day);
CREATE INDEX shipments_vehicle ON shipments(vehicle_id);
"""

WEATHER = """
CREATE TABLE stations (
    id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, city TEXT NOT NULL, latitude REAL NOT NULL,
    longitude REAL NOT NULL, altitude_m INTEGER);
CREATE TABLE readings (
    id INTEGER PRIMARY KEY, station_id INTEGER NOT NULL REFERENCES stations(id), day TEXT NOT NULL, temperature REAL,
    humidity INTEGER, wind_kmh REAL, rain_mm REAL, UNIQUE (station_id, day));
CREATE INDEX readings_day ON readings(day);
"""

LIBRARY = """
CREATE TABLE books (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, author TEXT NOT NULL, year INTEGER,
    copies INTEGER NOT NULL CHECK (copies >= 0));
CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT NOT NULL, joined TEXT NOT NULL);
CREATE TABLE loans (
    id INTEGER PRIMARY KEY, book_id INTEGER NOT NULL REFERENCES books(id),
    member_id INTEGER NOT NULL REFERENCES members(id), lent TEXT NOT NULL, returned TEXT);
CREATE INDEX books_author ON books(author);
CREATE INDEX loans_book ON loans(book_id);
CREATE INDEX loans_member ON loans(member_id);
"""

CLINIC = """
CREATE TABLE patients (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born TEXT NOT NULL, city TEXT, phone TEXT);
CREATE TABLE doctors (id INTEGER PRIMARY KEY, name TEXT NOT NULL, speciality TEXT NOT NULL, room INTEGER NOT NULL);
CREATE TABLE appointments (
    id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(id),
    doctor_id INTEGER NOT NULL REFERENCES doctors(id), day TEXT NOT NULL, time TEXT NOT NULL, reason TEXT,
    status TEXT NOT NULL CHECK (status IN ('booked', 'done', 'missed', 'cancelled')), UNIQUE (doctor_id, day, time));
CREATE INDEX appointments_patient ON appointments(patient_id);
CREATE INDEX appointments_day ON appointments(day);
"""

SCHOOL = """
CREATE TABLE students (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, year INTEGER NOT NULL CHECK (year BETWEEN 1 AND 4), city TEXT);
CREATE TABLE courses (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL UNIQUE, teacher TEXT NOT NULL, credits INTEGER NOT NULL);
CREATE TABLE enrolments (
    id INTEGER PRIMARY KEY, student_id INTEGER NOT NULL REFERENCES students(id),
    course_id INTEGER NOT NULL REFERENCES courses(id), term TEXT NOT NULL, grade REAL,
    UNIQUE (student_id, course_id, term));
CREATE INDEX enrolments_course ON enrolments(course_id);
"""

FLIGHTS = """
CREATE TABLE airports (id INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, city TEXT NOT NULL, country TEXT NOT NULL);
CREATE TABLE flights (
    id INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE, origin_id INTEGER NOT NULL REFERENCES airports(id),
    destination_id INTEGER NOT NULL REFERENCES airports(id), departs TEXT NOT NULL, arrives TEXT NOT NULL,
    seats INTEGER NOT NULL, price INTEGER NOT NULL);
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY, flight_id INTEGER NOT NULL REFERENCES flights(id), passenger TEXT NOT NULL,
    seat TEXT NOT NULL, status TEXT NOT NULL CHECK (status IN ('confirmed', 'waiting', 'cancelled')),
    paid REAL NOT NULL, UNIQUE (flight_id, seat));
CREATE INDEX flights_origin ON flights(origin_id);
CREATE INDEX flights_destination ON flights(destination_id);
CREATE INDEX bookings_passenger ON bookings(passenger);
"""

HOTEL = """
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('single', 'double', 'suite')), floor INTEGER NOT NULL, price INTEGER NOT NULL);
CREATE TABLE guests (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT, email TEXT);
CREATE TABLE reservations (
    id INTEGER PRIMARY KEY, room_id INTEGER NOT NULL REFERENCES rooms(id),
    guest_id INTEGER NOT NULL REFERENCES guests(id), arrival TEXT NOT NULL, departure TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('booked', 'checked in', 'checked out', 'cancelled')),
    CHECK (departure > arrival));
CREATE INDEX reservations_room ON reservations(room_id);
CREATE INDEX reservations_guest ON reservations(guest_id);
CREATE INDEX reservations_arrival ON reservations(arrival);
"""

MUSIC = """
CREATE TABLE artists (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, country TEXT, formed INTEGER);
CREATE TABLE albums (
    id INTEGER PRIMARY KEY, artist_id INTEGER NOT NULL REFERENCES artists(id), title TEXT NOT NULL,
    year INTEGER NOT NULL);
CREATE TABLE tracks (
    id INTEGER PRIMARY KEY, album_id INTEGER NOT NULL REFERENCES albums(id), number INTEGER NOT NULL,
    title TEXT NOT NULL, seconds INTEGER NOT NULL CHECK (seconds > 0), UNIQUE (album_id, number));
CREATE INDEX albums_artist ON albums(artist_id);
"""
